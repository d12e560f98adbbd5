"""A primary with its page, names and mail around it, and a browser that visits it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from lab.cluster import WEB_PORT, Cluster, loopback_network
from tests.support.internet import SMTP_PORT, Internet, Mailboxes
from tests.support.wait import wait_until

SECONDS = 30
WINDOW = "--window-size=1100,900"
_BROWSER = (
    "--headless=new",
    # Root may run it in no other way; every page is our own.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # The lab's authority is nobody's but the lab's.
    "--ignore-certificate-errors",
    WINDOW,
)


class WebWorld:
    """A registry that asks for proofs, with a page over TLS."""

    def __init__(
        self, root: Path, net: Internet, settings: Mapping[str, str] | None = None
    ) -> None:
        self.net = net
        self.boxes: Mailboxes = net.mailboxes()
        network = loopback_network()
        self.url = f"https://{network}.10:{WEB_PORT}"
        values = {
            "REGISTERING__PROOFS": "true",
            "REGISTERING__RESOLVERS": json.dumps([str(server) for server in net.resolvers]),
            "REGISTERING__GREETING_PORT": str(SMTP_PORT),
            "REGISTERING__ROUND_SECONDS": "0.2",
            "MAIL__SERVER": str(self.boxes.endpoint),
            "MAIL__SECURITY": "none",
            "WEB__LISTEN": f"{network}.10:{WEB_PORT}",
            "WEB__URL": self.url,
            "WEB__CERTIFICATE": str(root / "primary" / "server.pem"),
            "WEB__KEY": str(root / "primary" / "server.key"),
            "WEB__CHANGES_PER_MINUTE": "1000",
            "WEB__LOOKS_PER_MINUTE": "1000",
            "WEB__BOARD": "board@example.net",
            **(settings or {}),
        }
        env = {f"SMTPNIC_PRIMARY_{name}": value for name, value in values.items()}
        self.cluster = Cluster(root, secondaries=1, primary_env=env, network=network)
        self.cluster.prepare()


class Browser:
    """Headless Chromium, of Debian's packages."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self._url = url

    def go(self, path: str) -> None:
        """Opens a page."""
        self.driver.get(self._url + path)

    @property
    def path(self) -> str:
        """Where it is."""
        return self.driver.current_url.removeprefix(self._url)

    @property
    def title(self) -> str:
        """The page's first heading."""
        return self.find("h1").text

    @property
    def text(self) -> str:
        """All that a person reads."""
        return self.find("main").text

    def find(self, selector: str) -> WebElement:
        """One element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def write(self, **fields: str) -> None:
        """Puts these texts into the fields of these identifiers."""
        for name, text in fields.items():
            element = self.driver.find_element(By.ID, name)
            element.clear()
            element.send_keys(text)

    def press(self, words: str) -> None:
        """Presses a button by what it says, and waits for the page that follows."""
        before = self.find("html")
        self.driver.find_element(By.XPATH, f"//button[contains(., '{words}')]").click()
        wait_until(lambda: self._has_left(before), seconds=SECONDS, what=f"a page after {words}")

    def wait_path(self, path: str) -> None:
        """Waits until the browser is there."""
        wait_until(lambda: self.path == path, seconds=SECONDS, what=f"the browser is at {path}")

    def _has_left(self, page: WebElement) -> bool:
        # Between two pages there is none.
        found = self.driver.find_elements(By.CSS_SELECTOR, "html")
        ready = self.driver.execute_script("return document.readyState")
        return bool(found and found[0] != page and ready == "complete")


@contextmanager
def open_browser(url: str, *, script: bool = True) -> Iterator[Browser]:
    """A new browser, without script if so wished."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for argument in _BROWSER:
        options.add_argument(argument)
    if not script:
        preferences = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", preferences)
    service = webdriver.ChromeService(_program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver, url)
    finally:
        driver.quit()


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed: make setup"
    return path
