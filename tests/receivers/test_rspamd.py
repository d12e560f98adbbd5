"""rspamd with the configurations of receivers/rspamd: what it tells the mail server it serves."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.mail_server import FAILURES
from tests.support.receiving import (
    DENIED,
    POSTMASTER,
    RECEIVERS,
    RECIPIENT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.wait import wait_until

LOCAL: Final = Path("/etc/rspamd/local.d")
WORKER: Final = "http://127.0.0.1:11333/checkv2"
SYMBOL: Final = "SMTPNIC_UNREGISTERED"
MESSAGE: Final = (
    b"From: someone@sender.example\r\nTo: root@mx.receiver.example\r\nSubject: a test\r\n"
    b"Message-ID: <1@sender.example>\r\nDate: Wed, 25 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n"
)


def scan(address: str, recipient: str = RECIPIENT, user: str = "") -> dict[str, Any]:
    """What rspamd says of a message from this address."""
    headers = {"IP": address, "From": "someone@sender.example", "Rcpt": recipient}
    if user:
        headers["User"] = user
    request = urllib.request.Request(WORKER, MESSAGE, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        result: dict[str, Any] = json.load(reply)
    return result


def answers() -> bool:
    try:
        return bool(scan("127.0.0.1"))
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture(scope="module", params=["advise", "enforce"])
def mode(registry: Registry, request: pytest.FixtureRequest) -> Iterator[str]:
    """rspamd runs in each mode."""
    for file in LOCAL.glob("*.conf"):
        file.unlink()
    for file in (RECEIVERS / "rspamd" / request.param).iterdir():
        shutil.copy(file, LOCAL)
    # Its other lists and maps are on an Internet that is not here.
    (LOCAL / "options.inc").write_text(
        "dns { timeout = 0.5s; retransmits = 2; }\ndisable_hyperscan = true;\n"
    )
    subprocess.run(["rspamadm", "configtest"], check=True)
    for directory in ("/run/rspamd", "/var/lib/rspamd", "/var/log/rspamd"):
        Path(directory).mkdir(exist_ok=True)
        shutil.chown(directory, "_rspamd", "_rspamd")
    process = subprocess.Popen(["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd"])
    wait_until(answers, seconds=120, what="rspamd answering")
    yield request.param
    process.terminate()
    process.wait(30)


def test_the_unregistered_are_marked_or_refused(mode: str) -> None:
    """IPv4 and IPv6; with a text that says why, and where to register."""
    for address in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL in result["symbols"]
        assert (mode == "enforce") == (result["action"] == "reject")
        if mode == "enforce":
            assert DENIED in str(result["messages"])
    for address in (REGISTERED_IPV4, REGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL not in result["symbols"]
        assert "reject" != result["action"]


@pytest.mark.parametrize("fault", [*FAILURES, Fault.NODATA])
def test_while_dns_fails_nobody_is_marked(mode: str, fault: Fault, registry: Registry) -> None:
    """It fails open."""
    # An answer is remembered: each fault meets an address of its own.
    address = f"11.0.1.{list(Fault).index(fault) + (10 if mode == 'enforce' else 0)}"
    with registry.resolver.failing(fault):
        assert SYMBOL not in scan(address)["symbols"]


def test_a_lie_marks_nobody(mode: str, registry: Registry) -> None:
    """An answer that is not 127.0.0.2 is none."""
    address = "11.0.2.7" if mode == "enforce" else "11.0.2.8"
    registry.register(address)
    with registry.resolver.failing(Fault.LIE):
        assert SYMBOL not in scan(address)["symbols"]


def test_who_is_exempt_is_not_refused(mode: str) -> None:
    """Users of the site; postmaster where others are refused; loopback is never looked up."""
    assert SYMBOL not in scan(UNREGISTERED_IPV4, user="user")["symbols"]
    assert SYMBOL not in scan("127.0.0.1")["symbols"]
    assert "reject" != scan(UNREGISTERED_IPV4, POSTMASTER)["action"]
