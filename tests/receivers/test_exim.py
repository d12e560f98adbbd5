"""Exim with the configurations of receivers/exim: what clients see on the wire."""

from __future__ import annotations

import base64
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.support.mail_server import (
    ACCEPTED,
    FAILURES,
    REFUSED,
    Expected,
    Foreground,
    deliver,
    exempt_outcomes,
    outcomes,
    shell,
    wait_listening,
)
from tests.support.receiving import (
    DENIED,
    RECEIVERS,
    RECIPIENT,
    REGISTER_AT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    SERVER,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.smtp_dialogue import send_mail
from tests.support.switched_resolver import Fault

SETTINGS: Final = Path("/etc/exim4")
ACL: Final = SETTINGS / "smtpnic.acl"
EXPECTED: Final = {
    "enforce": Expected(unregistered=REFUSED, failure=ACCEPTED, lied=ACCEPTED),
    "enforce-tempfail": Expected(unregistered=REFUSED, failure="rcpt 451", lied="rcpt 451"),
    # Here it is the registered that a lie is about: it must not make them refused.
    "enforce-list": Expected(REFUSED, failure=ACCEPTED, lied=REFUSED, nodata=ACCEPTED),
    "advise": Expected(ACCEPTED, failure=ACCEPTED, lied=ACCEPTED, nodata=ACCEPTED),
}
USER: Final = base64.b64encode(b"\0user\0secret").decode()
AUTHENTICATOR: Final = r"""
plain_server:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and{{eq{$auth2}{user}}{eq{$auth3}{secret}}}}
  server_set_id = $auth2
  server_prompts = :
"""


class Exim:
    """Debian's Exim, as installed, with an ACL of ours in its check of recipients."""

    def __init__(self) -> None:
        settings = SETTINGS / "update-exim4.conf.conf"
        text = settings.read_text(encoding="utf-8")
        text = text.replace("dc_relay_nets=''", "dc_relay_nets='11.9.0.0/24'")
        settings.write_text(text, encoding="utf-8")
        # Debian's way to include an ACL of one's own; a dead resolver is given up after 2 s.
        (SETTINGS / "exim4.conf.localmacros").write_text(
            f"CHECK_RCPT_LOCAL_ACL_FILE = {ACL}\n", encoding="utf-8"
        )
        template = SETTINGS / "exim4.conf.template"
        text = template.read_text(encoding="utf-8")
        text = text.replace("\nbegin authenticators\n", f"\nbegin authenticators\n{AUTHENTICATOR}")
        text = text.replace("\nbegin acl\n", "\ndns_retrans = 2s\ndns_retry = 1\nbegin acl\n", 1)
        template.write_text(text, encoding="utf-8")
        Path("/etc/aliases").write_text("postmaster: root\nroot: mail\n", encoding="utf-8")
        Path("/run/exim4").mkdir(mode=0o777)
        Path("/run/exim4").chmod(0o777)
        self._process: Foreground | None = None

    def start(self, mode: str) -> None:
        """See `MailServer`."""
        self.run((RECEIVERS / "exim" / f"{mode}.acl").read_text(encoding="utf-8"))

    def run(self, acl: str) -> None:
        """Starts it with this ACL."""
        self.stop()
        ACL.write_text(acl, encoding="utf-8")
        shell("update-exim4.conf")
        shell("exim4", "-bV")
        self._process = Foreground(["exim4", "-bdf", "-q1h"])
        wait_listening()

    def stop(self) -> None:
        """See `MailServer`."""
        if self._process is not None:
            self._process.stop()
        self._process = None


@pytest.fixture(scope="module")
def exim() -> Iterator[Exim]:
    exim = Exim()
    yield exim
    exim.stop()


@pytest.fixture(scope="module", params=EXPECTED)
def mode(exim: Exim, registry: Registry, request: pytest.FixtureRequest) -> str:
    """Exim runs in each mode."""
    exim.start(request.param)
    return str(request.param)


@pytest.mark.parametrize("fault", Fault)
def test_each_client_sees_what_the_mode_promises(
    mode: str, fault: Fault, registry: Registry
) -> None:
    """Registered or not, IPv4 and IPv6, through a resolver that works, fails or lies."""
    with registry.resolver.failing(fault):
        wanted, seen = outcomes(fault, EXPECTED[mode])
    assert wanted == seen


def test_who_is_exempt_is_accepted(mode: str) -> None:
    """Postmaster can be asked for help; users and the own network need no registration."""
    seen = exempt_outcomes(USER)
    assert dict.fromkeys(seen, ACCEPTED) == seen


def _outcome_through_inetd(source: str) -> str:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with both as listening, ThreadPoolExecutor(1) as pool:
        port = listening.getsockname()[1]
        sending = pool.submit(send_mail, SERVER, source, RECIPIENT, port=port)
        connection, peer = listening.accept()
        assert f"::ffff:{source}" == peer[0]
        with connection:
            session = subprocess.Popen(
                ["exim4", "-bs"], stdin=connection.fileno(), stdout=connection.fileno()
            )
        outcome = sending.result(60).outcome
        session.wait(60)
    return outcome


def test_a_mapped_address_is_its_ipv4_address(mode: str) -> None:
    """A socket of both families sees ::ffff:11.0.0.25, and the registry knows 11.0.0.25.

    Exim makes no such socket itself, but may be given one, as by inetd.
    """
    expected = {
        REGISTERED_IPV4: ACCEPTED,
        UNREGISTERED_IPV4: ACCEPTED if mode == "advise" else REFUSED,
    }
    assert expected == {source: _outcome_through_inetd(source) for source in expected}


def test_the_reply_says_why_and_what_to_do(mode: str) -> None:
    """550, "communication denied", the address and where to register; or a 250 that says so."""
    for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        reply = deliver(source).rcpt
        assert source in reply
        assert REGISTER_AT in reply
        assert reply[:3] == ("250" if mode == "advise" else "550")
        assert (mode != "advise") == (DENIED in reply)
    for source in (REGISTERED_IPV4, REGISTERED_IPV6):
        assert REGISTER_AT not in deliver(source).rcpt


def _refused_while_dns_fails(registry: Registry) -> list[str]:
    seen = []
    for fault in FAILURES:
        with registry.resolver.failing(fault):
            seen.append(deliver(REGISTERED_IPV4).outcome)
    return seen


def test_trap_a_plain_negated_list_refuses_everyone_when_dns_fails(
    exim: Exim, registry: Registry
) -> None:
    """`!dnslists` takes a failure for "not listed": the opposite list has no such trap."""
    exim.run("deny\n  !dnslists = list.smtpnic.org=127.0.0.2\n")
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
    assert [REFUSED] * len(FAILURES) == _refused_while_dns_fails(registry)


def test_trap_defer_never_refuses_everyone_when_dns_fails(exim: Exim, registry: Registry) -> None:
    """`defer_never` makes "none" of a failure."""
    exim.run(
        "deny\n  condition = ${lookup dnsdb{defer_never,a="
        "${tr{$sender_host_address}{.}{-}}.smtpnic.org}{no}{yes}}\n"
    )
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
    assert [REFUSED] * len(FAILURES) == _refused_while_dns_fails(registry)


def test_trap_dashes_through_dnslists_refuse_the_registered(exim: Exim, registry: Registry) -> None:
    """`dnslists` drops answers outside 127.0.0.0/8, and the dashed name's is the address."""
    exim.run("deny\n  !dnslists = smtpnic.org/${tr{$sender_host_address}{.}{-}}\n")
    assert REFUSED == deliver(REGISTERED_IPV4).outcome


def test_trap_ipv6_needs_a_branch_of_its_own(exim: Exim, registry: Registry) -> None:
    """A colon is no part of a dashed name, and an address may be written short."""
    exim.run(
        "deny\n  condition = ${lookup dnsdb{a="
        "${tr{$sender_host_address}{.}{-}}.smtpnic.org}{no}{yes}}\n"
    )
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
    assert ACCEPTED != deliver(REGISTERED_IPV6).outcome
