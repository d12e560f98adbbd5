"""Postfix with the configurations of receivers/postfix: what clients see on the wire."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from lab.process import LabProcess, program
from policyd.places import MAX_CONNECTIONS
from tests.support.mail_server import (
    ACCEPTED,
    FAILURES,
    REFUSED,
    Expected,
    deliver,
    exempt_outcomes,
    outcomes,
    shell,
    wait_listening,
    wait_silent,
)
from tests.support.receiving import (
    DENIED,
    HOST,
    OWN_NETWORK,
    RECEIVERS,
    REGISTER_AT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog
from tests.support.wait import wait_until

SETTINGS: Final = Path("/etc/postfix")
SPOOL: Final = Path("/var/spool/postfix")
EXPECTED: Final = {
    # The lie is about the registered here: it must not make them refused.
    "enforce": Expected(REFUSED, failure=ACCEPTED, lied=REFUSED, nodata=ACCEPTED),
    "enforce-tempfail": Expected(REFUSED, failure="rcpt 450", lied=REFUSED),
    "advise": Expected(ACCEPTED, failure=ACCEPTED, lied=ACCEPTED, nodata=ACCEPTED),
}
USER: Final = base64.b64encode(f"\0user@{HOST}\0secret".encode()).decode()


class Postfix:
    """Debian's Postfix, as installed, and a mode in main.cf."""

    def __init__(self) -> None:
        self._original = (SETTINGS / "main.cf").read_text(encoding="utf-8")
        Path("/etc/aliases").write_text("postmaster: root\n", encoding="utf-8")
        shell("newaliases")
        shell(script=f"echo secret | saslpasswd2 -p -c -u {HOST} user")
        (SETTINGS / "sasl").mkdir(exist_ok=True)
        (SETTINGS / "sasl" / "smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n", encoding="utf-8"
        )
        (SPOOL / "etc").mkdir(exist_ok=True)
        shell("install", "-g", "sasl", "-m", "640", "/etc/sasldb2", str(SPOOL / "etc"))
        shell("adduser", "postfix", "sasl")
        # Postfix waits for DNS as long as the C library does: a dead resolver is left after 2 s.
        Path("/etc/resolv.conf").write_text(
            "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n", encoding="utf-8"
        )
        self._runs = False

    def start(self, mode: str) -> None:
        """See `MailServer`."""
        self.run((RECEIVERS / "postfix" / f"{mode}.cf").read_text(encoding="utf-8"))

    def run(self, fragment: str, *, prepare_chroot: bool = True, max_use: int = 1) -> None:
        """Starts it with these lines; as Debian's service does, with a resolv.conf in the chroot.

        Each process of it serves `max_use` sessions: it remembers what lists said until it ends.
        """
        self.stop()
        own = (
            "mynetworks = 127.0.0.0/8 11.9.0.0/24\nsmtpd_sasl_auth_enable = yes\n"
            "smtpd_sasl_path = smtpd\nbroken_sasl_auth_clients = no\n"
            f"smtpd_client_connection_rate_limit = 0\nmax_use = {max_use}\n"
        )
        base = re.sub(r"(?m)^mynetworks = .*\n", "", self._original)
        (SETTINGS / "main.cf").write_text(f"{base}\n{own}{fragment}", encoding="utf-8")
        if prepare_chroot:
            shell("/usr/lib/postfix/configure-instance.sh", "-")
        assert "" == shell("postfix", "check")
        shell("postfix", "start")
        self._runs = True
        wait_listening()

    def stop(self) -> None:
        """See `MailServer`."""
        if self._runs:
            shell("postfix", "stop")
            wait_silent()
        self._runs = False


@pytest.fixture(scope="module")
def postfix(syslog: Syslog) -> Iterator[Postfix]:
    postfix = Postfix()
    yield postfix
    postfix.stop()


@pytest.fixture(scope="module", params=EXPECTED)
def mode(postfix: Postfix, registry: Registry, request: pytest.FixtureRequest) -> str:
    """Postfix runs in each mode."""
    postfix.start(request.param)
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


def test_the_refusal_says_why_and_what_to_do(mode: str) -> None:
    """550 5.7.1, "communication denied", the address, and where to register."""
    if mode == "advise":
        pytest.skip("refuses nobody")
    for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        refusal = deliver(source).refusal
        assert refusal.startswith("550 5.7.1 ")
        assert source in refusal
        assert DENIED in refusal
        assert REGISTER_AT in refusal


def test_advice_is_in_the_log(postfix: Postfix, registry: Registry, syslog: Syslog) -> None:
    """Who would be refused stands there, as reject_warning; of the others there is nothing."""
    postfix.start("advise")
    before = len(syslog.text())
    for source in (UNREGISTERED_IPV4, REGISTERED_IPV4):
        assert ACCEPTED == deliver(source).outcome
    warnings = [line for line in syslog.text()[before:].splitlines() if "reject_warning" in line]
    assert 1 == len(warnings)
    assert f"[{UNREGISTERED_IPV4}]" in warnings[0]


def test_trap_a_chroot_without_resolv_conf_defers_everyone(
    postfix: Postfix, registry: Registry
) -> None:
    """smtpd is chrooted in Debian: without its own resolv.conf it asks where nobody answers."""
    postfix.stop()
    resolver = SPOOL / "etc" / "resolv.conf"
    resolver.unlink(missing_ok=True)
    # What the C library asks then is 127.0.0.1 as well: so that the trap shows, another is asked.
    resolver.write_text("nameserver 127.0.0.9\noptions timeout:1 attempts:1\n", encoding="utf-8")
    fragment = (RECEIVERS / "postfix" / "enforce-tempfail.cf").read_text(encoding="utf-8")
    postfix.run(fragment, prepare_chroot=False)
    assert "rcpt 450" == deliver(REGISTERED_IPV4).outcome
    postfix.run(fragment)
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome


def test_trap_dnswl_in_client_restrictions_lets_the_unregistered_in(
    postfix: Postfix, registry: Registry
) -> None:
    """A permit among client restrictions ends them alone; a reject there also hits postmaster."""
    postfix.run(
        "smtpd_client_restrictions = permit_dnswl_client list.smtpnic.org=127.0.0.2, reject\n"
    )
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
    assert {"postmaster", "own network"} <= {
        who for who, outcome in exempt_outcomes().items() if outcome != ACCEPTED
    }


def test_trap_250_in_an_access_table_is_451(postfix: Postfix, registry: Registry) -> None:
    """Postfix cannot say anything of its own to somebody whose mail it takes."""
    postfix.run("smtpd_recipient_restrictions = check_client_access static:{250 please register}\n")
    assert "rcpt 451" == deliver(UNREGISTERED_IPV4).outcome


def test_trap_a_dead_policy_service_defers_all_mail(postfix: Postfix, registry: Registry) -> None:
    """`default_action=DUNNO` is what makes it fail open."""
    service = "inet:127.0.0.1:10999"
    postfix.run(f"smtpd_recipient_restrictions = check_policy_service {service}\n")
    assert "rcpt 451" == deliver(REGISTERED_IPV4).outcome
    postfix.run(
        "smtpd_recipient_restrictions = "
        f"check_policy_service {{{service}, default_action=DUNNO, timeout=2s}}\n"
    )
    assert ACCEPTED == deliver(REGISTERED_IPV4).outcome


def test_trap_a_process_remembers_what_a_list_said(postfix: Postfix, registry: Registry) -> None:
    """Whatever its TTL, until it has served `max_use` sessions or was idle for `max_idle`."""
    fragment = (RECEIVERS / "postfix" / "enforce.cf").read_text(encoding="utf-8")
    postfix.run(fragment, max_use=100)
    assert REFUSED == deliver(UNREGISTERED_IPV4).outcome
    with registry.resolver.failing(Fault.SERVFAIL):
        # Another process may take some of them, and knows nothing.
        assert REFUSED in {deliver(UNREGISTERED_IPV4).outcome for _ in range(10)}


def test_failures_defer_in_time(postfix: Postfix, registry: Registry) -> None:
    """With `timeout:2 attempts:1` in resolv.conf, nobody waits for long, whatever DNS does."""
    postfix.start("enforce-tempfail")
    for fault in FAILURES:
        with registry.resolver.failing(fault):
            assert "rcpt 450" == deliver(REGISTERED_IPV4).outcome


class Policyd:
    """smtpnic-policyd, started and ended."""

    def __init__(self, directory: Path, **settings: str) -> None:
        environment = {f"SMTPNIC_POLICYD_{name.upper()}": text for name, text in settings.items()}
        self.process = LabProcess(
            "policyd", [program("smtpnic-policyd"), "run"], directory / "policyd.log", environment
        )
        self.process.start()

    def wait_ready(self) -> None:
        """Until it says that it serves."""
        wait_until(lambda: "policyd.ready" in self.process.tail(), seconds=20, what="policyd")


POLICYD_EXPECTED: Final = {
    "accept": Expected(unregistered=REFUSED, failure=ACCEPTED, lied=ACCEPTED),
    "tempfail": Expected(unregistered=REFUSED, failure="rcpt 451", lied="rcpt 451"),
}


@pytest.fixture(scope="module", params=POLICYD_EXPECTED)
def policyd_mode(
    postfix: Postfix,
    registry: Registry,
    request: pytest.FixtureRequest,
) -> str:
    """Postfix asks the policy service, which enforces."""
    postfix.start("enforce-policyd")
    return str(request.param)


@pytest.mark.parametrize("fault", Fault)
def test_through_policyd_each_client_sees_what_is_promised(
    policyd_mode: str, fault: Fault, registry: Registry, tmp_path: Path
) -> None:
    """With dashed names, IPv4 and IPv6; it is started anew for each fault, since it remembers."""
    policyd = Policyd(tmp_path, mode="enforce", on_failure=policyd_mode, guard_seconds="0")
    policyd.wait_ready()
    try:
        with registry.resolver.failing(fault):
            wanted, seen = outcomes(fault, POLICYD_EXPECTED[policyd_mode])
        exempt = exempt_outcomes(USER)
    finally:
        policyd.process.stop()
    assert wanted == seen
    if fault is Fault.NONE:
        assert dict.fromkeys(exempt, ACCEPTED) == exempt


def test_without_policyd_all_is_accepted(postfix: Postfix, registry: Registry) -> None:
    """It fails open: default_action=DUNNO."""
    postfix.start("enforce-policyd")
    assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_when_policyd_dies_or_hangs_all_is_accepted(
    postfix: Postfix, registry: Registry, tmp_path: Path, number: signal.Signals
) -> None:
    """Postfix has a connection to it then, and waits for an answer no longer than `timeout`."""
    fragment = (RECEIVERS / "postfix" / "enforce-policyd.cf").read_text(encoding="utf-8")
    # So that the process that has the connection serves the next session too.
    postfix.run(fragment + "default_process_limit = 1\n", max_use=100)
    policyd = Policyd(tmp_path, mode="enforce")
    policyd.wait_ready()
    try:
        assert REFUSED == deliver(UNREGISTERED_IPV4).outcome
        policyd.process.signal(number)
        assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome
    finally:
        policyd.process.kill()


def test_when_policyd_is_full_all_is_accepted(
    postfix: Postfix, registry: Registry, tmp_path: Path
) -> None:
    """It closes a connection too many, and Postfix does what `default_action` says."""
    postfix.start("enforce-policyd")
    policyd = Policyd(tmp_path, mode="enforce")
    policyd.wait_ready()
    try:
        with ExitStack() as others:
            for _ in range(MAX_CONNECTIONS):
                others.enter_context(socket.create_connection(("127.0.0.1", 10040), 10))
            assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome
        wait_until(
            lambda: deliver(UNREGISTERED_IPV4).outcome == REFUSED, seconds=30, what="places free"
        )
    finally:
        policyd.process.stop()


def test_policyd_stops_enforcing_when_the_list_lies(
    postfix: Postfix, registry: Registry, tmp_path: Path
) -> None:
    """A resolver that puts an address in the place of every absence: 127.0.0.1 seems listed."""
    postfix.start("enforce-policyd")
    policyd = Policyd(tmp_path, mode="enforce", guard_seconds="0.1")
    policyd.wait_ready()
    try:
        assert REFUSED == deliver(UNREGISTERED_IPV4).outcome
        with registry.resolver.failing(Fault.LIE):
            wait_until(
                lambda: "enforcing.stopped" in policyd.process.tail(), seconds=10, what="the guard"
            )
            # Known as unregistered since before, and accepted all the same.
            assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome
        wait_until(
            lambda: "enforcing.resumed" in policyd.process.tail(), seconds=10, what="the guard"
        )
        assert REFUSED == deliver(UNREGISTERED_IPV4).outcome
    finally:
        policyd.process.stop()


def test_advice_is_a_header_of_the_message(
    postfix: Postfix, registry: Registry, tmp_path: Path
) -> None:
    """In mail of the unregistered alone."""
    mailbox = Path("/var/mail/root")
    postfix.start("advise-policyd")
    policyd = Policyd(tmp_path, mode="advise")
    policyd.wait_ready()
    try:
        for source, has_header in ((UNREGISTERED_IPV4, True), (REGISTERED_IPV4, False)):
            mailbox.unlink(missing_ok=True)
            assert ACCEPTED == deliver(source).outcome
            wait_until(mailbox.exists, seconds=10, what="the message delivered")
            wait_until(lambda: "Hello" in mailbox.read_text(), seconds=10, what="the message")
            text = mailbox.read_text(encoding="utf-8")
            assert has_header == (f"X-SMTP-Registry: {UNREGISTERED_IPV4} is no registered" in text)
    finally:
        policyd.process.stop()


@pytest.fixture
def filtered(postfix: Postfix, registry: Registry) -> Iterator[None]:
    """Postfix passes all mail through the filter, and takes it behind it."""
    master = SETTINGS / "master.cf"
    original = master.read_text(encoding="utf-8")
    service = (RECEIVERS / "postfix" / "advise-filter.master.cf").read_text(encoding="utf-8")
    master.write_text(original + service, encoding="utf-8")
    postfix.start("advise-filter")
    yield
    master.write_text(original, encoding="utf-8")


def smtp_filter(directory: Path, **settings: str) -> Policyd:
    """The filter at the port that advise-filter.cf names."""
    listen = json.dumps(["127.0.0.1:10041"])
    policyd = Policyd(directory, mode="advise", filter_listen=listen, **settings)
    policyd.wait_ready()
    return policyd


def test_the_filter_puts_advice_into_the_last_250(filtered: None, tmp_path: Path) -> None:
    """The informational 250 of the draft, which Postfix has no other way to give."""
    policyd = smtp_filter(tmp_path, own_networks=json.dumps(["11.9.0.0/24"]))
    try:
        for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
            dialogue = deliver(source)
            assert dialogue.end.startswith("250 2.0.0 Ok: queued as ")
            assert f"{source} is no registered mail server" in dialogue.end
            assert REGISTER_AT in dialogue.end
        for source in (REGISTERED_IPV4, REGISTERED_IPV6, OWN_NETWORK):
            dialogue = deliver(source)
            assert ACCEPTED == dialogue.outcome
            assert REGISTER_AT not in dialogue.end
    finally:
        policyd.process.stop()


@pytest.mark.parametrize("fault", [*FAILURES, Fault.NODATA, Fault.LIE])
def test_the_filter_passes_mail_on_while_dns_fails(
    filtered: None, fault: Fault, registry: Registry, tmp_path: Path
) -> None:
    """It fails open: without advice, but where an absence is still told."""
    policyd = smtp_filter(tmp_path)
    try:
        with registry.resolver.failing(fault):
            dialogue = deliver(UNREGISTERED_IPV4)
    finally:
        policyd.process.stop()
    assert ACCEPTED == dialogue.outcome
    assert (fault is Fault.NODATA) == (REGISTER_AT in dialogue.end)


def test_without_the_filter_mail_is_deferred(filtered: None) -> None:
    """It stands in the way of the mail: here Postfix has no default action."""
    assert "end 451" == deliver(REGISTERED_IPV4).outcome


def test_a_server_behind_the_filter_that_hangs_defers_mail(filtered: None, tmp_path: Path) -> None:
    """The filter gives it up at its limit, and the client is told to try again."""
    policyd = smtp_filter(tmp_path, filter_next="127.0.0.1:10027", filter_silence_seconds="1")
    try:
        with socket.create_server(("127.0.0.1", 10027)):
            assert "end 4" == deliver(REGISTERED_IPV4).outcome[:5]
        assert "session.silent" in policyd.process.tail()
    finally:
        policyd.process.stop()
