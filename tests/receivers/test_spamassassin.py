"""SpamAssassin with the configurations of receivers/spamassassin: what it writes into a message."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.mail_server import FAILURES, shell
from tests.support.receiving import (
    HOST,
    RECEIVERS,
    REGISTER_AT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.wait import wait_until

SETTINGS: Final = Path("/etc/spamassassin")
OWN_NETWORK, OWN_ADDRESS = "11.9.0.0/24", "11.9.0.5"
SYMBOL: Final = "SMTPNIC_UNREGISTERED"


def scan(address: str, recipient: str = f"<root@{HOST}>", protocol: str = "ESMTP") -> str:
    """The message as SpamAssassin passes it on, as it was received from this address."""
    literal = f"IPv6:{address}" if ":" in address else address
    message = (
        f"Received: from mail.sender.example (mail.sender.example [{literal}])\n"
        f"\tby {HOST} (Postfix) with {protocol} id 4XyZ123\n"
        f"\tfor {recipient}; Wed, 25 Nov 2026 12:00:00 +0000 (UTC)\n"
        f"From: someone@sender.example\nTo: root@{HOST}\nSubject: a test\n"
        "Message-ID: <1@sender.example>\nDate: Wed, 25 Nov 2026 12:00:00 +0000\n\nHello.\n"
    )
    done = subprocess.run(
        ["spamc", "-t", "60"], input=message, capture_output=True, text=True, check=True
    )
    assert "X-Spam-Checker-Version" in done.stdout
    return done.stdout


def answers() -> bool:
    return subprocess.run(["spamc", "-K"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module", params=["advise", "enforce"])
def mode(registry: Registry, request: pytest.FixtureRequest) -> Iterator[str]:
    """SpamAssassin's daemon runs in each mode."""
    own = (
        # Of its own rules none is of interest here, nor can they reach what they ask.
        "dns_available yes\nskip_rbl_checks 0\nrbl_timeout 3\nuse_bayes 0\n"
        f"trusted_networks {OWN_NETWORK}\ninternal_networks {OWN_NETWORK}\n"
        "dns_query_restriction deny *\ndns_query_restriction allow smtpnic.org\n"
        "add_header all Report _REPORT_\n"
    )
    mode_lines = (RECEIVERS / "spamassassin" / f"{request.param}.cf").read_text(encoding="utf-8")
    (SETTINGS / "local.cf").write_text(own + mode_lines, encoding="utf-8")
    assert "" == shell("spamassassin", "--lint")
    process = subprocess.Popen(["spamd", "--max-children=2", "--nouser-config", "--syslog=stderr"])
    try:
        wait_until(answers, seconds=120, what="spamd answering")
        yield request.param
    finally:
        # One that was too slow would answer for the next mode.
        process.terminate()
        process.wait(30)


def test_the_unregistered_are_marked(mode: str) -> None:
    """IPv4 and IPv6: a point and a line in the report, or enough to be spam."""
    for address in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL in result
        assert REGISTER_AT in result
        assert (mode == "enforce") == ("X-Spam-Flag: YES" in result)
    for address in (REGISTERED_IPV4, REGISTERED_IPV6):
        result = scan(address)
        assert SYMBOL not in result
        assert "X-Spam-Flag: YES" not in result


def test_a_mapped_address_is_its_ipv4_address(mode: str) -> None:
    """As a mail server with a socket of both families writes it."""
    assert SYMBOL in scan(f"::ffff:{UNREGISTERED_IPV4}")
    assert SYMBOL not in scan(f"::ffff:{REGISTERED_IPV4}")


@pytest.mark.parametrize("fault", [*FAILURES, Fault.NODATA])
def test_while_dns_fails_nobody_is_marked(mode: str, fault: Fault, registry: Registry) -> None:
    """It fails open."""
    with registry.resolver.failing(fault):
        assert SYMBOL not in scan(UNREGISTERED_IPV4)


def test_a_lie_marks_nobody(mode: str, registry: Registry) -> None:
    """An answer that is not 127.0.0.2 is none."""
    with registry.resolver.failing(Fault.LIE):
        assert SYMBOL not in scan(REGISTERED_IPV4)


def test_who_is_exempt_is_not_marked(mode: str) -> None:
    """This machine, own networks, users who authenticated."""
    for address in ("127.0.0.1", OWN_ADDRESS):
        assert SYMBOL not in scan(address)
    assert SYMBOL not in scan(UNREGISTERED_IPV4, protocol="ESMTPSA")


@pytest.mark.parametrize("recipient", [f"<postmaster@{HOST}>", "<Postmaster>", "postmaster@x"])
def test_postmaster_hears_everybody(mode: str, recipient: str) -> None:
    """By what the receiving server wrote, and not by a header that anybody may write."""
    assert SYMBOL not in scan(UNREGISTERED_IPV4, recipient)


def test_a_name_like_postmasters_is_none(mode: str) -> None:
    """Nor is one that only holds it."""
    for recipient in (f"<postmaster-2@{HOST}>", f"<x@postmaster.{HOST}>"):
        assert SYMBOL in scan(UNREGISTERED_IPV4, recipient)
