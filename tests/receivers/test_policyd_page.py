"""Postfix with smtpnic-policyd, by the commands of docs/receivers.md, with systemd and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import pytest

from lab.process import LabProcess, program
from tests.receivers.test_page import page_commands
from tests.support.mail_server import (
    ACCEPTED,
    REFUSED,
    deliver,
    open_to_others,
    shell,
    wait_listening,
    wait_silent,
)
from tests.support.receiving import (
    DENIED,
    OWN_NETWORK,
    RECEIVERS,
    REGISTER_AT,
    REGISTERED_IPV4,
    SERVER,
    UNREGISTERED_IPV4,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog
from tests.support.systemd_machine import SystemdMachine
from tests.support.wait import wait_until

SECTION: Final = "Postfix with smtpnic-policyd"
ADVISE: Final = "Advise"
ENFORCE: Final = "Enforce"
TEMPFAIL: Final = "Enforce, and say 451 while DNS fails"
CHECK: Final = (
    "Check what Postfix would be told about a client of any address; `DUNNO` is no objection"
)
BACK: Final = "Back to what it was"
NO_SYSTEMD: Final = "by whatever starts services there, again after each `setup`"
ASKED_ABOUT: Final = "192.0.2.77"
DELAYED: Final = "rcpt 451"

PROGRAM: Final = Path("/usr/local/bin/smtpnic-policyd")
UNITS: Final = Path("/usr/local/lib/systemd/system")
OVERRIDE: Final = Path("/etc/systemd/system/smtpnic-policyd.service.d/override.conf")
SETTINGS: Final = Path("/etc/smtpnic/policyd.toml")
MAIN: Final = Path("/etc/postfix/main.cf")
MAILBOX: Final = Path("/var/mail/root")
# What a lookup or a failure is remembered for is over, and Postfix has read its settings.
CHANGE_SECONDS: Final = 30.0


class Host(Protocol):
    """A machine with Postfix, on which somebody follows the page."""

    def follow(self, heading: str) -> str:
        """Runs the commands below a heading; what they print. Each has to succeed."""

    def attempt(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command that may fail."""

    def end_service(self) -> None:
        """Ends smtpnic-policyd, so that nobody listens in its place."""


class SystemdHost:
    """Units as scripts/install puts them in place; Debian's unit starts Postfix."""

    def __init__(self, machine: SystemdMachine) -> None:
        self.machine = machine
        machine.run("systemctl start postfix")

    def follow(self, heading: str) -> str:
        """See `Host`."""
        return self.machine.run(page_commands(SECTION, heading))

    def attempt(self, command: str) -> subprocess.CompletedProcess[str]:
        """See `Host`."""
        return self.machine.attempt(command)

    def end_service(self) -> None:
        """See `Host`."""
        self.machine.run("systemctl stop smtpnic-policyd.socket smtpnic-policyd.service")

    def stop(self) -> None:
        """Ends Postfix."""
        self.machine.run("systemctl stop postfix")


class PlainHost:
    """No systemd: the page's other line runs in the foreground, of something that starts it."""

    def __init__(self, directory: Path) -> None:
        *self._preparing, self._command = page_commands(SECTION, NO_SYSTEMD).splitlines()
        self._directory = directory
        self._service: LabProcess | None = None
        self._starts = 0
        shell(script="\n".join(self._preparing))
        shell("service", "postfix", "start")

    def follow(self, heading: str) -> str:
        """See `Host`; what begins with `systemctl` is left out, as the page says."""
        lines = page_commands(SECTION, heading).splitlines()
        said = shell(script="\n".join(line for line in lines if not line.startswith("systemctl ")))
        if heading != CHECK:
            self.end_service()
        if heading in (ADVISE, ENFORCE, TEMPFAIL):
            self._start_service()
        return said

    def attempt(self, command: str) -> subprocess.CompletedProcess[str]:
        """See `Host`."""
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    def end_service(self) -> None:
        """See `Host`."""
        if self._service is not None:
            self._service.stop()
        self._service = None

    def stop(self) -> None:
        """Ends what runs."""
        self.end_service()
        shell("service", "postfix", "stop")

    def _start_service(self) -> None:
        self._starts += 1
        log = self._directory / f"policyd-{self._starts}.log"
        service = LabProcess("policyd", ["/bin/sh", "-euc", f"exec {self._command}"], log)
        service.start()
        self._service = service
        wait_until(lambda: "policyd.ready" in service.tail(), seconds=30, what="policyd")
        assert "process.is_root" not in service.tail()


@pytest.fixture(scope="module")
def installed() -> None:
    """Postfix as its package sets it up, and what scripts/install puts in place."""
    os.environ["PATH"] = f"{Path(program('smtpnic')).parent}:{os.environ['PATH']}"
    Path("/etc/aliases").write_text("postmaster: root\n", encoding="utf-8")
    shell("newaliases")
    PROGRAM.symlink_to(program("smtpnic-policyd"))
    open_to_others(Path(sys.base_prefix))
    UNITS.mkdir(parents=True, exist_ok=True)
    for unit in ("smtpnic-policyd.socket", "smtpnic-policyd.service"):
        shutil.copy(RECEIVERS / "policyd" / unit, UNITS)
    # scripts/install takes no Python out of somebody's home; that of these tests may stand there.
    OVERRIDE.parent.mkdir(parents=True)
    OVERRIDE.write_text("[Service]\nProtectHome=read-only\n", encoding="utf-8")


@pytest.fixture(scope="module", params=["without systemd", "with systemd"])
def host(
    installed: None,
    registry: Registry,
    syslog: Syslog,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Host]:
    """Postfix runs, on a machine of each kind."""
    if request.param == "with systemd":
        with SystemdMachine() as machine:
            booted = SystemdHost(machine)
            wait_listening([SERVER])
            yield booted
            booted.stop()
    else:
        plain = PlainHost(tmp_path_factory.mktemp("plain"))
        wait_listening([SERVER])
        yield plain
        plain.stop()
        wait_silent()


@contextmanager
def following(host: Host, *headings: str) -> Iterator[None]:
    """Within the block the page was followed so far; then back to what it was."""
    before = MAIN.read_text(encoding="utf-8")
    *earlier, last = headings
    for heading in earlier:
        host.follow(heading)
        # It runs with these settings now, and has to take up what follows.
        host.follow(CHECK)
    host.follow(last)
    try:
        yield
    finally:
        host.follow(BACK)
    assert before == MAIN.read_text(encoding="utf-8")
    wait_outcome(UNREGISTERED_IPV4, ACCEPTED)


def wait_outcome(source: str, expected: str) -> None:
    """A client sees it within the time that a change may take."""
    wait_until(
        lambda: deliver(source).outcome == expected,
        seconds=CHANGE_SECONDS,
        what=f"{expected}, for {source}",
    )


def received(source: str) -> str:
    """The message that a client sent, as it came into the mailbox."""
    MAILBOX.unlink(missing_ok=True)
    assert ACCEPTED == deliver(source).outcome
    wait_until(
        lambda: MAILBOX.exists() and "Hello" in MAILBOX.read_text(encoding="utf-8"),
        seconds=30,
        what="the message in the mailbox",
    )
    return MAILBOX.read_text(encoding="utf-8")


def test_advise_is_a_header_of_the_message(host: Host, registry: Registry) -> None:
    """All is accepted, whatever DNS does; mail of the unregistered says that it is."""
    with following(host, ADVISE):
        for fault in (Fault.SERVFAIL, Fault.NONE):
            with registry.resolver.failing(fault):
                for source in (REGISTERED_IPV4, UNREGISTERED_IPV4):
                    assert ACCEPTED == deliver(source).outcome
        wait_until(
            lambda: f"{UNREGISTERED_IPV4} is no registered" in received(UNREGISTERED_IPV4),
            seconds=CHANGE_SECONDS,
            what="the header, once the failure is forgotten",
        )
        assert "X-SMTP-Registry" not in received(REGISTERED_IPV4)
        told = host.follow(CHECK)
        assert told.startswith(f"PREPEND X-SMTP-Registry: {ASKED_ABOUT} is no registered")


def test_enforce_refuses_the_unregistered_and_nobody_while_dns_fails(
    host: Host, registry: Registry
) -> None:
    """550 with the reason and where to register; without the service too all is accepted."""
    with following(host, ADVISE, ENFORCE):
        # Nothing is known yet: all that is asked now fails.
        with registry.resolver.failing(Fault.SERVFAIL):
            assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
            assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome
            assert "DUNNO\n" == host.follow(CHECK)
        wait_outcome(UNREGISTERED_IPV4, REFUSED)
        refusal = deliver(UNREGISTERED_IPV4).refusal
        assert refusal.startswith("550 5.7.1 ")
        for words in (DENIED, UNREGISTERED_IPV4, REGISTER_AT):
            assert words in refusal
        assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
        wait_until(
            lambda: host.follow(CHECK).startswith(f"550 5.7.1 {DENIED}: {ASKED_ABOUT} "),
            seconds=CHANGE_SECONDS,
            what="the refusal",
        )
        host.end_service()
        assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome


def test_tempfail_delays_everyone_while_dns_fails(host: Host, registry: Registry) -> None:
    """451, and as soon as DNS answers again, the registered are accepted and the others refused."""
    with following(host, ADVISE, TEMPFAIL):
        with registry.resolver.failing(Fault.SERVFAIL):
            wait_outcome(REGISTERED_IPV4, DELAYED)
            assert DELAYED == deliver(UNREGISTERED_IPV4).outcome
            assert host.follow(CHECK).startswith("451 4.4.3 ")
        wait_outcome(REGISTERED_IPV4, ACCEPTED)
        wait_outcome(UNREGISTERED_IPV4, REFUSED)


def test_the_guard_takes_all_of_it_out(host: Host, registry: Registry) -> None:
    """The page's command for cron finds Postfix, and undoes the settings of the service as well."""
    before = MAIN.read_text(encoding="utf-8")
    for heading in (ADVISE, ENFORCE):
        host.follow(heading)
    wait_outcome(UNREGISTERED_IPV4, REFUSED)
    with registry.resolver.failing(Fault.LIE):
        done = host.attempt(page_commands("A guard"))
    assert (1, True) == (done.returncode, "enforces nothing any more" in done.stderr), done
    assert before == MAIN.read_text(encoding="utf-8")
    assert not SETTINGS.exists()
    wait_outcome(UNREGISTERED_IPV4, ACCEPTED)
    host.end_service()


def test_what_stood_in_the_settings_counts_and_is_put_back(host: Host, registry: Registry) -> None:
    """An own network is exempt; the service itself sees a list that lies, and stops enforcing."""
    own = 'own_networks = ["11.9.0.0/24"]\nguard_seconds = 0.2\n'
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(own, encoding="utf-8")
    try:
        with following(host, ADVISE, ENFORCE):
            wait_outcome(UNREGISTERED_IPV4, REFUSED)
            assert ACCEPTED == deliver(OWN_NETWORK).outcome
            with registry.resolver.failing(Fault.LIE):
                wait_outcome(UNREGISTERED_IPV4, ACCEPTED)
            wait_outcome(UNREGISTERED_IPV4, REFUSED)
        assert own == SETTINGS.read_text(encoding="utf-8")
    finally:
        SETTINGS.unlink()


def test_settings_that_are_wrong_are_not_set_up(host: Host) -> None:
    """The service's own check is asked as Postfix's is, and what was there before is put back."""
    before = MAIN.read_text(encoding="utf-8")
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text("no_such_setting = 1\n", encoding="utf-8")
    try:
        setup = page_commands(SECTION, ADVISE).splitlines()[1]
        done = host.attempt(setup)
        assert (2, True) == (done.returncode, "no_such_setting: no such setting" in done.stderr)
        assert before == MAIN.read_text(encoding="utf-8")
        assert "no_such_setting = 1\n" == SETTINGS.read_text(encoding="utf-8")
    finally:
        SETTINGS.unlink()


def test_under_systemd_it_runs_as_a_user_of_its_own_and_comes_back(
    host: Host, registry: Registry
) -> None:
    """The first question starts it; after a crash it is there for the next."""
    if not isinstance(host, SystemdHost):
        pytest.skip("whatever starts services sees to that")

    def pid() -> str:
        return host.machine.run("systemctl show -P MainPID smtpnic-policyd.service").strip()

    with following(host, ADVISE, ENFORCE):
        wait_outcome(UNREGISTERED_IPV4, REFUSED)
        first = pid()
        assert "smtpnic-policyd\n" == host.machine.run(f"ps -o user:32= -p {first}")
        host.machine.run("systemctl kill --signal=KILL smtpnic-policyd.service")
        wait_outcome(UNREGISTERED_IPV4, REFUSED)
        assert first != pid()
