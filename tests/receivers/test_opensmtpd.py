"""OpenSMTPD with the configurations of receivers/opensmtpd: what clients see on the wire."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.process import program
from tests.support.mail_server import (
    ACCEPTED,
    REFUSED,
    Expected,
    Foreground,
    deliver,
    exempt_outcomes,
    open_to_others,
    outcomes,
    shell,
    wait_listening,
)
from tests.support.receiving import (
    DENIED,
    HOST,
    OWN_NETWORK,
    RECEIVERS,
    REGISTER_AT,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog

SETTINGS: Final = Path("/etc/smtpd.conf")
EXPECTED: Final = {
    "enforce": Expected(unregistered=REFUSED, failure=ACCEPTED, lied=ACCEPTED),
    "enforce-tempfail": Expected(unregistered=REFUSED, failure="rcpt 451", lied="rcpt 451"),
    "advise": Expected(ACCEPTED, failure=ACCEPTED, lied=ACCEPTED, nodata=ACCEPTED),
}


class OpenSmtpd:
    """Debian's OpenSMTPD with a filter in smtpd.conf, at both loopback addresses."""

    def __init__(self) -> None:
        Path("/etc/aliases").write_text("postmaster: root\n", encoding="utf-8")
        # Where its PATH finds it: as a package would install it.
        Path("/usr/local/bin/smtpnic-policyd").symlink_to(program("smtpnic-policyd"))
        open_to_others(Path(sys.base_prefix))
        settings = Path("/etc/smtpnic")
        settings.mkdir()
        # A lookup is remembered; here each question is to meet the fault of its test.
        (settings / "policyd.toml").write_text(
            'own_networks = ["11.9.0.0/24"]\nguard_seconds = 0\nresolvers = ["127.0.0.1"]\n',
            encoding="utf-8",
        )
        self._process: Foreground | None = None

    def start(self, mode: str) -> None:
        """See `MailServer`."""
        self.stop()
        fragment = (RECEIVERS / "opensmtpd" / f"{mode}.conf").read_text(encoding="utf-8")
        SETTINGS.write_text(
            f"{fragment}"
            "table aliases file:/etc/aliases\n"
            "listen on 127.0.0.1 filter registry\n"
            "listen on ::1 filter registry\n"
            'action "local" mbox alias <aliases>\n'
            f'match from any for domain "{HOST}" action "local"\nmatch for local action "local"\n',
            encoding="utf-8",
        )
        shell("smtpd", "-n")
        self._process = Foreground(["smtpd", "-d"])
        wait_listening()

    def stop(self) -> None:
        """See `MailServer`."""
        if self._process is not None:
            self._process.stop()
        self._process = None


@pytest.fixture(scope="module")
def opensmtpd(syslog: Syslog) -> Iterator[OpenSmtpd]:
    opensmtpd = OpenSmtpd()
    yield opensmtpd
    opensmtpd.stop()


@pytest.fixture(scope="module", params=EXPECTED)
def mode(opensmtpd: OpenSmtpd, registry: Registry, request: pytest.FixtureRequest) -> str:
    """OpenSMTPD runs in each mode."""
    opensmtpd.start(request.param)
    return str(request.param)


@pytest.mark.parametrize("fault", Fault)
def test_each_client_sees_what_the_mode_promises(
    mode: str, fault: Fault, registry: Registry, opensmtpd: OpenSmtpd
) -> None:
    """Registered or not, IPv4 and IPv6, through a resolver that works, fails or lies."""
    # The filter remembers what DNS said: it starts anew for each fault.
    opensmtpd.start(mode)
    with registry.resolver.failing(fault):
        wanted, seen = outcomes(fault, EXPECTED[mode])
    assert wanted == seen


def test_who_is_exempt_is_accepted(mode: str) -> None:
    """Postmaster can be asked for help; the own network needs no registration.

    Users are tested with the filter alone: OpenSMTPD lets them authenticate over TLS only, and
    6.8 finds no private key there with OpenSSL 3.
    """
    seen = exempt_outcomes()
    assert dict.fromkeys(seen, ACCEPTED) == seen
    assert ACCEPTED == deliver(OWN_NETWORK).outcome


def test_the_refusal_says_why_and_what_to_do(mode: str, opensmtpd: OpenSmtpd) -> None:
    """550 5.7.1, "communication denied", the address, and where to register."""
    if mode == "advise":
        pytest.skip("refuses nobody")
    opensmtpd.start(mode)
    for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        refusal = deliver(source).refusal
        assert refusal.startswith("550 5.7.1 ")
        assert source in refusal
        assert DENIED in refusal
        assert REGISTER_AT in refusal
