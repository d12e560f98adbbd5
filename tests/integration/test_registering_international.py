"""International names and addresses: by command line and page in; WHOIS, RDAP and page out."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.process import program
from tests.support.internet import Internet, internet, token_in
from tests.support.wait import wait_until
from tests.support.web_pages import token_of
from tests.support.web_world import WebWorld

SECONDS = 60
RDAP_PORT = 7470
NAME, POSTAL = "Žofia Müller-漆原", "Königstraße 1, 東京都千代田区"
TELEPHONE = "+81 3-3580-3377"


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    """Names and mail."""
    with internet() as net:
        yield net


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, net: Internet) -> Iterator[WebWorld]:
    """A primary with its page and RDAP, and a secondary, which answers WHOIS."""
    rdap = {"WHOIS__PAUSE_SECONDS": "0.05", "RDAP__PER_SECOND": "0"}
    root = tmp_path_factory.mktemp("world")
    world = WebWorld(root, net, rdap | {"RDAP__LISTEN": f"{net.new_address()}:{RDAP_PORT}"})
    with world.cluster as cluster:
        cluster.start_primary()
        cluster.start_secondaries()
        yield world


def smtpnic(world: WebWorld, *arguments: str, code: int = 0) -> Any:
    """What a command says, as JSON."""
    done = subprocess.run(
        [program("smtpnic"), "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | world.cluster.cli_env,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout or done.stderr)


def by_command(world: WebWorld, address: str, host: str, mailbox: str) -> None:
    """Registers with the command line, all public."""
    contact = [f"--name={NAME}", f"--postal-address={POSTAL}", f"--telephone={TELEPHONE}"]
    shown = [f"--public={field}" for field in ("name", "postal-address", "email", "telephone")]
    first = ["register", address, f"--host={host}", *contact, f"--email={mailbox}", *shown]
    answer = smtpnic(world, *first, code=1)
    world.net.let_in(answer["domain"], bytes.fromhex(answer["holder"]))
    smtpnic(world, "prove", address, "--token", answer["address_token"])
    assert smtpnic(world, "confirm", token_in(world.boxes.wait_letter(mailbox)))["confirmed"]
    assert smtpnic(world, "register", address, f"--host={host}")["registered"]


def by_page(world: WebWorld, address: str, host: str, mailbox: str) -> None:
    """Registers with the page's forms, all public."""
    fields = {
        **{"address": address, "host": host, "email": mailbox},
        **{"name": NAME, "postal_address": POSTAL, "telephone": TELEPHONE},
        **dict.fromkeys(
            ("public_name", "public_email", "public_telephone", "public_postal_address"), "on"
        ),
    }
    with page(world) as client:
        client.post("/register", data={"form_token": token_of(client.get("/register")), **fields})
        checks = client.get("/register/checks").text
        holder = re.search(r"holder=([0-9a-f]{32})", checks)
        token = re.search(r"smtpnic-[a-z2-7]{20}", checks)
        assert holder is not None, checks
        assert token is not None, checks
        domain = re.search(r"to the zone of ([^ ]+)\. It is no secret", checks)
        assert domain is not None, checks
        world.net.let_in(domain[1], bytes.fromhex(holder[1]))
        world.net.greet(address, f"ESMTP {token[0]}")
        client.get("/register/checks")
        path = f"/confirm/{token_in(world.boxes.wait_letter(mailbox))}"
        client.post(path, data={"form_token": token_of(client.get(path))})
        done = client.get("/register/checks")
        assert done.headers.get("location") == "/register/done", done.text


def page(world: WebWorld) -> httpx.Client:
    """A visitor; the lab's authority is nobody's but the lab's."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(base_url=world.url, verify=anybody, timeout=SECONDS)


def rdap_of(world: WebWorld, address: str) -> Any:
    """What RDAP at the primary says, once it has it."""
    endpoint = world.cluster.primary_env["SMTPNIC_PRIMARY_RDAP__LISTEN"]
    url = f"http://{endpoint}/ip/{address}"

    def found() -> bool:
        try:
            urllib.request.urlopen(url, timeout=SECONDS).close()
        except OSError:
            return False
        return True

    wait_until(found, seconds=SECONDS, what=f"{address} is in RDAP")
    with urllib.request.urlopen(url, timeout=SECONDS) as reply:
        return json.load(reply)


@pytest.mark.parametrize(
    ("register", "written", "host", "name"),
    [
        (by_command, "mail.bücher.example.org", "mail.xn--bcher-kva.example.org", "käte"),
        (by_page, "почта.例え.example.org", "xn--80a1acny.xn--r8jz45g.example.org", "пример"),
    ],
)
def test_what_is_international_is_read_as_it_is_written(
    world: WebWorld, register: Any, written: str, host: str, name: str
) -> None:
    """A host name, a mailbox, a name and a postal address in many scripts, by either way in."""
    address, domain = world.net.new_address(), host.partition(".")[2]
    world.net.name(address, host)
    mailbox = f"{name}@{written.partition('.')[2]}"
    register(world, address, written, mailbox)

    secondary = world.cluster.secondaries[0]

    def values_in_whois() -> dict[str, str]:
        lines = (line.partition(":") for line in secondary.ask_whois(address).splitlines())
        return {label: text.strip() for label, _, text in lines}

    values = wait_until(
        lambda: found if "host" in (found := values_in_whois()) else None,
        seconds=SECONDS,
        what="WHOIS has it",
    )
    assert values is not None
    assert (values["host"], values["host-unicode"]) == (host, written)
    assert (values["domain"], values["domain-unicode"]) == (domain, written.partition(".")[2])
    assert values["contact"] == NAME
    assert values["contact-address"] == POSTAL
    assert values["contact-email"] == mailbox
    assert values["contact-phone"] == TELEPHONE
    # Asked for as it is written.
    assert address in secondary.ask_whois(written)

    body = rdap_of(world, address)
    assert body["smtpnic_registration"]["unicodeHost"] == written
    card = {each[0]: each for each in body["entities"][0]["vcardArray"][1]}
    assert (card["fn"][3], card["adr"][1]["label"]) == (NAME, POSTAL)
    assert (card["email"][3], card["tel"][3]) == (mailbox, "tel:+81335803377")

    with page(world) as client:
        text = client.get(f"/mail-servers/{address}").text
    assert all(one in text for one in (written, host, NAME, POSTAL, mailbox, TELEPHONE))
    assert smtpnic(world, "show", address)["host"] == host


def test_a_number_that_is_dialled_at_home_alone_is_refused(world: WebWorld) -> None:
    """The person is told how it is written."""
    contact = ["--name=Ann", "--postal-address=Street 1", "--email=ann@example.org"]
    number = ["--telephone=+49 (0) 30 901820", "--public=email"]
    holder = ["--holder", str(world.cluster.root / "nobody.key")]
    address = world.net.new_address()
    world.net.name(address, "mail.home.example.org")
    error = smtpnic(world, "register", address, *contact, *number, *holder, code=3)["error"]
    assert "+4930901820" in error["message"]
