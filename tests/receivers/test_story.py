"""From registration to withdrawal, as a mail server and its receiver live through it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.receivers.test_sendmail import Sendmail
from tests.support.mail_server import ACCEPTED, REFUSED, deliver
from tests.support.receiving import OWN_NETWORK, REGISTER_AT, Registry
from tests.support.syslog import Syslog
from tests.support.wait import wait_until

RESOLVER: Final = "127.0.0.2"
NEWCOMER, LATECOMER = "11.0.3.25", "11.0.4.25"
# What docs/dns.md promises: a name's TTL, and how long an absence is remembered.
NAME_TTL_SECONDS: Final = 300
NEGATIVE_TTL_SECONDS: Final = 60
# Each look is a whole message.
POLL_SECONDS: Final = 0.25
# Unbound as it comes, told where the registry's zone is, since there is no Internet here, and of
# the names that sendmail asks for beside it.
UNBOUND: Final = """
server:
    interface: {resolver}
    do-not-query-localhost: no
    directory: "/etc/unbound"
    pidfile: ""
    use-syslog: no
    local-zone: "sender.example." static
    local-data: "sender.example. MX 10 mail.sender.example."
    local-data: "mail.sender.example. A 192.0.2.1"
    local-zone: "receiver.example." static
    local-zone: "11.in-addr.arpa." static
    local-zone: "127.in-addr.arpa." static
stub-zone:
    name: "smtpnic.org"
    stub-addr: {server}
"""


@pytest.fixture
def resolver(registry: Registry, tmp_path: Path) -> Iterator[str]:
    """A stock Unbound between sendmail and our DNS."""
    settings = tmp_path / "unbound.conf"
    settings.write_text(UNBOUND.format(resolver=RESOLVER, server=registry.dns[0]))
    resolv = Path("/etc/resolv.conf")
    before = resolv.read_text(encoding="utf-8")
    resolv.write_text(f"nameserver {RESOLVER}\n", encoding="utf-8")
    process = subprocess.Popen(["unbound", "-d", "-p", "-c", str(settings)])
    yield RESOLVER
    process.terminate()
    process.wait(30)
    resolv.write_text(before, encoding="utf-8")


def connect(address: str) -> None:
    """Gives the client's address to the loopback interface."""
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)


@pytest.mark.timeout(NAME_TTL_SECONDS + 400)
def test_a_mail_server_registers_is_accepted_and_withdraws(
    resolver: str, registry: Registry, syslog: Syslog
) -> None:
    """Accepted within a second of registration, or within 61 of a refusal; refused after the TTL.

    The receiver is sendmail in enforce mode.
    """
    for address in (NEWCOMER, LATECOMER):
        connect(address)
    sendmail = Sendmail()
    sendmail.start("enforce")
    assert ACCEPTED == deliver(OWN_NETWORK).outcome
    try:
        # Nobody has asked about the newcomer yet.
        registry.registrant.register(NEWCOMER)
        registered_at = time.monotonic()
        wait_until(lambda: registry.exists(NEWCOMER), seconds=1, what="in DNS")
        asked_at = time.monotonic()
        assert ACCEPTED == deliver(NEWCOMER).outcome
        assert time.monotonic() - registered_at < 1

        # The latecomer sends first, reads why it is refused, and registers.
        refusal = deliver(LATECOMER)
        refused_at = time.monotonic()
        assert REFUSED == refusal.outcome
        assert REGISTER_AT in refusal.refusal
        registry.register(LATECOMER)
        wait_until(
            lambda: deliver(LATECOMER).outcome == ACCEPTED,
            seconds=NEGATIVE_TTL_SECONDS + 1,
            what="the latecomer accepted",
        )
        assert time.monotonic() - refused_at < NEGATIVE_TTL_SECONDS + 1

        # The newcomer withdraws; what resolvers remember holds until its TTL is over.
        registry.withdraw(NEWCOMER)
        assert ACCEPTED == deliver(NEWCOMER).outcome
        wait_until(
            lambda: deliver(NEWCOMER).outcome == REFUSED,
            seconds=NAME_TTL_SECONDS,
            what="the newcomer refused",
            poll_seconds=POLL_SECONDS,
        )
        held = time.monotonic() - asked_at
        assert NAME_TTL_SECONDS - 2 < held < NAME_TTL_SECONDS + 3
    finally:
        sendmail.stop()
