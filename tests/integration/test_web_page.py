"""The page in a real browser, against a real primary, real names and real mail."""

from __future__ import annotations

import base64
import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import axe_core_python
import grpc
import pytest
from selenium.webdriver.common.by import By

from lab.process import program, run
from tests.support.internet import Internet, internet, text_of, token_in
from tests.support.registrant import Registrant
from tests.support.wait import wait_until
from tests.support.web_world import SECONDS, Browser, WebWorld, open_browser

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"
# WCAG 2.1, levels A and AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
PAGES = [
    "/",
    "/register",
    "/manage",
    "/recover",
    "/report",
    "/status",
    "/statistics",
    "/board",
    "/receivers",
    "/privacy",
    "/mail-servers/192.0.2.1",
    "/mail-servers/192.0.2.1/verify",
    "/nowhere",
]


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    """Names and mail."""
    with internet() as net:
        yield net


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, net: Internet) -> Iterator[WebWorld]:
    """The primary and a secondary, at work."""
    world = WebWorld(tmp_path_factory.mktemp("world"), net)
    with world.cluster as cluster:
        cluster.start_primary()
        cluster.start_secondaries()
        yield world


@pytest.fixture(scope="module")
def browser(world: WebWorld) -> Iterator[Browser]:
    """One browser, with script."""
    with open_browser(world.url) as browser:
        yield browser


@pytest.fixture(scope="module")
def plain(world: WebWorld) -> Iterator[Browser]:
    """Another one, without script."""
    with open_browser(world.url, script=False) as browser:
        yield browser


def fill_in(browser: Browser, address: str, mailbox: str) -> None:
    """The form of who registers."""
    browser.go("/register")
    browser.write(
        address=address,
        name="Ann Example",
        email=mailbox,
        telephone="+1 202 555 0123",
        postal_address="1 Example Street, Exampleton",
    )
    browser.find("[name=public_email]").click()
    browser.press("Check what holds")


def show_all(world: WebWorld, browser: Browser, address: str, domain: str, mailbox: str) -> str:
    """Puts in place what the page asks for; the management key."""
    key = browser.find("#management-key").text
    world.net.let_in(domain, bytes.fromhex(key.partition(":")[0]))
    found = re.search(r"smtpnic-[a-z2-7]{20}", browser.text)
    assert found is not None, browser.text
    world.net.greet(address, f"ESMTP {found[0]}")
    # The letter follows the other proofs.
    browser.press("Look again now")
    letter = world.boxes.wait_letter(mailbox)
    assert f"{world.url}/confirm/{token_in(letter)}" in text_of(letter)
    return key + " " + token_in(letter)


def verdicts(browser: Browser) -> list[str]:
    return [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".verdict")]


def broken_rules(browser: Browser) -> dict[str, list[str]]:
    """What axe finds wrong with the page, and where."""
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    options = {"runOnly": {"type": "tag", "values": RULES}}
    found = browser.driver.execute_script("return axe.run(document, arguments[0])", options)
    return {each["id"]: [node["html"] for node in each["nodes"]] for each in found["violations"]}


def test_a_person_registers_and_manages(world: WebWorld, browser: Browser) -> None:
    """From the form to done, live; then the proof, another name, and the end."""
    address, mailbox = world.net.new_address(), "ann@ann.example.org"
    world.net.name(address, "mail.ann.example.org")
    fill_in(browser, address, mailbox)
    assert (browser.path, browser.title) == ("/register/checks", address)
    assert verdicts(browser) == ["Holds"] * 3 + ["To do"] * 3
    assert broken_rules(browser) == {}

    key, token = show_all(world, browser, address, "ann.example.org", mailbox).split()
    browser.driver.switch_to.new_window("tab")
    browser.go(f"/confirm/{token}")
    browser.press("Yes, confirm")
    assert browser.title == "Your e-mail address is confirmed"
    browser.driver.close()
    browser.driver.switch_to.window(browser.driver.window_handles[0])
    # By itself: the script looks again.
    browser.wait_path("/register/done")
    assert browser.title == f"{address} is registered"
    assert browser.find("#management-key").text == key
    browser.press("I have kept it")
    assert key not in browser.driver.page_source

    _look_up_and_verify(world, browser, address)
    _rename_and_withdraw(world, browser, address, key)


def _look_up_and_verify(world: WebWorld, browser: Browser, address: str) -> None:
    """By the address, by the e-mail address; the proof, which the command line checks too."""
    secondary = world.cluster.secondaries[0]
    wait_until(
        lambda: secondary.ask_dns(address) == "registered", seconds=SECONDS, what="it is in DNS"
    )
    browser.go("/")
    browser.write(q="ann@ann.example.org")
    browser.press("Look up")
    assert browser.title == "ann.example.org is registered"
    browser.write(q=address)
    browser.press("Look up")
    assert browser.title == f"{address} is registered"
    browser.press("Verify the proof")
    assert browser.title == "The proof holds"
    steps = [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".steps h2")]
    assert len(steps) == 4
    assert steps[-1].endswith("is in the log")
    proof = world.cluster.root / "proof.json"
    script = "const r = await fetch(arguments[0]); return await r.text()"
    proof.write_text(browser.driver.execute_script(script, f"/mail-servers/{address}/proof"))
    done = subprocess.run(
        [program("smtpnic"), "--json", "verify", address, "--from", str(proof)],
        capture_output=True,
        text=True,
        env=os.environ | world.cluster.cli_env,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def _rename_and_withdraw(world: WebWorld, browser: Browser, address: str, key: str) -> None:
    """Signs in with the key again, gives it another name, and withdraws it."""
    browser.go("/manage")
    browser.press("Sign out")
    browser.go("/manage")
    browser.write(key=f"{key[:-2]}zz")
    browser.press("Sign in")
    assert "no management key" in browser.text
    browser.write(key=key)
    browser.press("Sign in")
    assert address in browser.text
    assert broken_rules(browser) == {}
    world.net.name(address, "mx.ann.example.org")
    browser.find(".server summary").click()
    browser.write(**{"host-1": "mx.ann.example.org"})
    browser.press("Update the names")
    found = re.search(r"smtpnic-[a-z2-7]{20}", browser.text)
    assert found is not None, browser.text
    world.net.greet(address, f"ESMTP {found[0]}")
    browser.wait_path("/register/done")
    browser.go("/manage")
    assert "mx.ann.example.org" in browser.text
    browser.find(".server summary").click()
    browser.press(f"Withdraw {address}")
    assert "no mail server registered" in browser.text
    browser.go(f"/mail-servers/{address}")
    assert browser.title == f"{address} is not registered"


def test_no_page_needs_script(world: WebWorld, plain: Browser) -> None:
    """Registers with script switched off: the page loads itself again."""
    address, mailbox = world.net.new_address(), "bob@bob.example.org"
    world.net.name(address, "mail.bob.example.org")
    fill_in(plain, address, mailbox)
    assert plain.title == address
    _, token = show_all(world, plain, address, "bob.example.org", mailbox).split()
    plain.driver.switch_to.new_window("tab")
    plain.go(f"/confirm/{token}")
    plain.press("Yes, confirm")
    plain.driver.close()
    plain.driver.switch_to.window(plain.driver.window_handles[0])
    assert plain.find("noscript").get_attribute("innerHTML")
    plain.press("Look again now")

    assert plain.title == f"{address} is registered"


def test_what_is_wrong_stands_beside_its_field(world: WebWorld, plain: Browser) -> None:
    """What was written stays, and nothing is stored."""
    fill_in(plain, "192.0.2.300", "dan@example.org")
    assert plain.title == "Register a mail server"
    assert plain.find("#address").get_attribute("aria-invalid") == "true"
    assert plain.find("#name").get_attribute("value") == "Ann Example"


def test_a_complaint_reaches_the_holder_and_is_counted(world: WebWorld, browser: Browser) -> None:
    """The holder reads what it says; the board that there was one."""
    with grpc.insecure_channel(f"unix:{world.cluster.primary_dir}/run/admin.sock") as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        registrant.register("192.0.2.200")
    browser.go("/report?address=192.0.2.200")
    browser.write(text="Mail to addresses that never asked.\nBcc: all@example.net")
    browser.press("Send it")

    assert browser.title == "Thank you"
    letter = world.boxes.wait_letter("postmaster@example.org", "a complaint")
    assert "> Bcc: all@example.net" in text_of(letter)
    assert letter["Bcc"] is None
    assert "number 1" in text_of(world.boxes.wait_letter("board@example.net"))


def test_a_decision_of_the_board_stands_on_its_page(
    world: WebWorld, browser: Browser, tmp_path: Path
) -> None:
    """What it did, why, and who signed."""
    cluster, file = world.cluster, str(tmp_path / "decision")
    for words in (
        ["propose", file, "policy", "registrations-per-domain", "500", "--reason=many complaints"],
        ["sign", file, f"--key={cluster.primary_dir / 'board.key'}"],
        ["publish", file],
    ):
        run([program("smtpnic"), "board", *words], env=cluster.cli_env, seconds=SECONDS)
    browser.go("/board")

    assert "policy registrations-per-domain 500" in browser.text
    assert "many complaints" in browser.text
    assert "signed by founder" in browser.text


def test_how_far_the_mirrors_are_is_shown(world: WebWorld, browser: Browser) -> None:
    """By name on the page of the cluster's status, and drawn beside the statistics."""

    def is_heard_of() -> bool:
        browser.go("/status")
        return world.cluster.secondaries[0].name in browser.text

    wait_until(is_heard_of, seconds=SECONDS, what="the mirror has reported")
    browser.go("/statistics")
    plots = browser.driver.find_elements(By.CSS_SELECTOR, "svg.plot title")
    titles = [plot.get_attribute("textContent") for plot in plots]

    assert titles[-1] == "Entries of the log that each mirror is behind"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(world: WebWorld, browser: Browser, scheme: str) -> None:
    """No rule of axe is broken, contrast included, in the light and in the dark, on a phone too."""
    driver = browser.driver
    broken: dict[str, list[str]] = {}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for path in PAGES:
        browser.go(path)
        broken |= {f"{path} {rule}": where for rule, where in broken_rules(browser).items()}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert broken == {}


def test_pages_fit_a_phone(world: WebWorld, browser: Browser) -> None:
    """Nothing is wider than 360 pixels; with SMTPNIC_SHOTS set, pictures are kept there."""
    driver, wide = browser.driver, []
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for path in PAGES:
        browser.go(path)
        if driver.execute_script("return document.documentElement.scrollWidth") > 360:
            wide.append(path)
        _keep_picture(browser, f"phone{path.replace('/', '-')}")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert wide == []


def _keep_picture(browser: Browser, name: str) -> None:
    directory = os.environ.get("SMTPNIC_SHOTS", "")
    if directory:
        shot = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {})
        (Path(directory) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def test_nothing_comes_from_elsewhere(world: WebWorld, browser: Browser) -> None:
    """The browser's own list of what it loaded, and no complaint of its policy."""
    for path in PAGES:
        browser.go(path)
        script = "return performance.getEntriesByType('resource').map(e => e.name)"
        loaded = browser.driver.execute_script(script)
        assert [name for name in loaded if not name.startswith(world.url)] == []
    log = browser.driver.execute("getLog", {"type": "browser"})["value"]
    said = [entry["message"] for entry in log]
    assert [line for line in said if "Security Policy" in line] == []


def test_the_cookie_is_bound_to_the_host(world: WebWorld, browser: Browser) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite: a browser takes it only over TLS, for this host."""
    browser.go("/register")
    (cookie,) = browser.driver.get_cookies()

    assert cookie["name"] == "__Host-smtpnic"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")


def test_the_page_is_not_there_without_its_name(world: WebWorld) -> None:
    """Another Host is refused, so that no other name can be made to show these pages."""
    context = ssl._create_unverified_context()
    request = urllib.request.Request(world.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, context=context, timeout=10)
    assert caught.value.code == 421
