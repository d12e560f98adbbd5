"""rspamd with the configurations of receivers/rspamd: what it tells the mail server it serves."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.mail_server import FAILURES
from tests.support.receiving import (
    BARE_POSTMASTER,
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
WORKER: Final = ("127.0.0.1", 11333)
OWN_NETWORK, OWN_ADDRESS = "11.9.0.0/24", "11.9.0.5"
SYMBOL: Final = "SMTPNIC_UNREGISTERED"
_FRESH: Final = count(10)
MESSAGE: Final = (
    b"From: someone@sender.example\r\nTo: root@mx.receiver.example\r\nSubject: a test\r\n"
    b"Message-ID: <1@sender.example>\r\nDate: Wed, 25 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n"
)


def scan(address: str, *recipients: str, user: str = "") -> dict[str, Any]:
    """What rspamd says of a message from this address."""
    headers = [("IP", address), ("From", "someone@sender.example")]
    headers += [("Rcpt", recipient) for recipient in recipients or (RECIPIENT,)]
    if user:
        headers.append(("User", user))
    connection = HTTPConnection(*WORKER, timeout=30)
    with closing(connection):
        connection.putrequest("POST", "/checkv2")
        # A recipient each: no dictionary holds them.
        for name, value in (*headers, ("Content-Length", str(len(MESSAGE)))):
            connection.putheader(name, value)
        connection.endheaders(MESSAGE)
        result: dict[str, Any] = json.load(connection.getresponse())
    return result


def fresh_address() -> str:
    """Another one each time, since answers are remembered."""
    return f"11.0.1.{next(_FRESH)}"


def answers() -> bool:
    try:
        return bool(scan("127.0.0.1"))
    except (OSError, HTTPException, ValueError):
        return False


@pytest.fixture(scope="module", params=["enforce-tempfail", "advise", "enforce"])
def mode(registry: Registry, request: pytest.FixtureRequest) -> Iterator[str]:
    """rspamd runs in each mode."""
    for file in LOCAL.glob("*.conf"):
        file.unlink()
    for file in (RECEIVERS / "rspamd" / request.param).iterdir():
        shutil.copy(file, LOCAL)
    # Its other lists and maps are on an Internet that is not here.
    (LOCAL / "options.inc").write_text(
        "dns { timeout = 0.5s; retransmits = 2; }\ndisable_hyperscan = true;\n"
        f'local_addrs = ["127.0.0.0/8", "{OWN_NETWORK}"];\n'
    )
    subprocess.run(["rspamadm", "configtest"], check=True)
    for directory in ("/run/rspamd", "/var/lib/rspamd", "/var/log/rspamd"):
        Path(directory).mkdir(exist_ok=True)
        shutil.chown(directory, "_rspamd", "_rspamd")
    process = subprocess.Popen(["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd"])
    try:
        wait_until(answers, seconds=120, what="rspamd answering")
        yield request.param
    finally:
        # One that was too slow would answer for the next mode.
        process.terminate()
        process.wait(30)


def test_the_unregistered_are_marked_or_refused(mode: str) -> None:
    """IPv4 and IPv6; with a text that says why, and where to register."""
    for address in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL in result["symbols"]
        assert (mode != "advise") == (result["action"] == "reject")
        if mode != "advise":
            assert DENIED in str(result["messages"])
    for address in (REGISTERED_IPV4, REGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL not in result["symbols"]
        assert "reject" != result["action"]


def test_a_mapped_address_is_its_ipv4_address(mode: str) -> None:
    """As a mail server with a socket of both families says it."""
    assert SYMBOL in scan(f"::ffff:{UNREGISTERED_IPV4}")["symbols"]
    assert SYMBOL not in scan(f"::ffff:{REGISTERED_IPV4}")["symbols"]


@pytest.mark.parametrize("fault", [*FAILURES, Fault.NODATA])
def test_while_dns_fails_nobody_is_marked(mode: str, fault: Fault, registry: Registry) -> None:
    """It fails open, or tells everybody to try again; but for postmaster's mail."""
    is_delayed = mode == "enforce-tempfail" and fault is not Fault.NODATA
    with registry.resolver.failing(fault):
        result = scan(fresh_address())
        assert SYMBOL not in result["symbols"]
        assert is_delayed == (result["action"] == "soft reject")
        assert is_delayed == ("try again later" in str(result["messages"]))
        assert "soft reject" != scan(fresh_address(), BARE_POSTMASTER)["action"]


def test_a_lie_marks_nobody(mode: str, registry: Registry) -> None:
    """An answer that is not 127.0.0.2 is none."""
    address = fresh_address()
    registry.register(address)
    with registry.resolver.failing(Fault.LIE):
        assert SYMBOL not in scan(address)["symbols"]


def test_who_is_exempt_is_not_refused(mode: str) -> None:
    """Users and networks of the site; postmaster where others are refused; loopback."""
    assert SYMBOL not in scan(UNREGISTERED_IPV4, user="user")["symbols"]
    for address in ("127.0.0.1", OWN_ADDRESS):
        assert SYMBOL not in scan(address)["symbols"]


@pytest.mark.parametrize(
    "recipients", [[POSTMASTER], [BARE_POSTMASTER], [POSTMASTER, BARE_POSTMASTER]]
)
def test_postmaster_hears_everybody(mode: str, recipients: list[str]) -> None:
    """With or without a domain (RFC 5321, 4.5.1)."""
    assert "reject" != scan(UNREGISTERED_IPV4, *recipients)["action"]


@pytest.mark.parametrize(
    "recipients",
    [[POSTMASTER, RECIPIENT], [RECIPIENT, BARE_POSTMASTER], ["postmaster-2@x.example"]],
)
def test_who_names_postmaster_beside_others_is_refused(mode: str, recipients: list[str]) -> None:
    """A filter decides about the whole message: postmaster opens no way to the others."""
    assert SYMBOL in scan(UNREGISTERED_IPV4, *recipients)["symbols"]
