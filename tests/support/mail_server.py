"""What the tests of all mail servers share: starting one, and who is to be answered what."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.support.receiving import (
    BARE_POSTMASTER,
    OWN_NETWORK,
    POSTMASTER,
    RECIPIENT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    SERVER,
    SERVER_IPV6,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
)
from tests.support.smtp_dialogue import SMTP_PORT, Dialogue, send_mail
from tests.support.switched_resolver import Fault
from tests.support.wait import wait_until

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
SHELL_SECONDS: Final = 120.0
ACCEPTED: Final = "accepted"
REFUSED: Final = "rcpt 550"
# sendmail listens no more while the machine has much to do, which says nothing here.
UNDER_LOAD: Final = "define(`confREFUSE_LA', `1000')dnl\ndefine(`confQUEUE_LA', `1000')dnl\n"
FAILURES: Final = (Fault.SERVFAIL, Fault.REFUSED, Fault.TIMEOUT)


class MailServer(Protocol):
    """A mail server that can run with one of the configurations in receivers/."""

    def start(self, mode: str) -> None:
        """Starts it in the mode, at port 25 of both loopback addresses."""

    def stop(self) -> None:
        """Ends it."""


@dataclass(frozen=True)
class Expected:
    """What a mode does to the unregistered, to everyone while DNS fails, and to who is lied about.

    `lied` is the outcome for an unregistered client whose absence the resolver hides.
    """

    unregistered: str
    failure: str
    lied: str
    nodata: str = REFUSED

    def outcome(self, fault: Fault, *, registered: bool) -> str:
        """What a client sees."""
        if fault in FAILURES:
            return self.failure
        if fault is Fault.NODATA:
            return self.nodata
        if registered:
            return ACCEPTED
        return self.lied if fault is Fault.LIE else self.unregistered


def outcomes(fault: Fault, expected: Expected) -> tuple[dict[str, str], dict[str, str]]:
    """For each client what it should see, and what it sees now."""
    clients = {
        REGISTERED_IPV4: SERVER,
        UNREGISTERED_IPV4: SERVER,
        REGISTERED_IPV6: SERVER_IPV6,
        UNREGISTERED_IPV6: SERVER_IPV6,
    }
    registered = {REGISTERED_IPV4, REGISTERED_IPV6}
    wanted = {
        source: expected.outcome(fault, registered=source in registered) for source in clients
    }
    seen = {source: deliver(source).outcome for source in clients}
    return wanted, seen


def deliver(source: str, recipient: str = RECIPIENT, credentials: str = "") -> Dialogue:
    """What the server answers to a message from this address."""
    server = SERVER_IPV6 if ":" in source else SERVER
    return send_mail(server, source, recipient, credentials=credentials)


def exempt_outcomes(credentials: str = "") -> dict[str, str]:
    """What those see who are never refused for not being registered."""
    seen = {
        "postmaster": deliver(UNREGISTERED_IPV4, POSTMASTER).outcome,
        "bare postmaster": deliver(UNREGISTERED_IPV4, BARE_POSTMASTER).outcome,
        "own network": deliver(OWN_NETWORK).outcome,
        "loopback": deliver(SERVER).outcome,
    }
    if credentials:
        dialogue = deliver(UNREGISTERED_IPV4, credentials=credentials)
        assert dialogue.auth.startswith("235"), dialogue
        seen["authenticated"] = dialogue.outcome
    return seen


def shell(*command: str, directory: Path | None = None, script: str = "") -> str:
    """What a command that must succeed prints; AssertionError with all of it otherwise."""
    words = ["/bin/sh", "-euc", script] if script else list(command)
    # A file and not a pipe: a daemon that a command starts may keep it open for ever.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SHELL_SECONDS,
            check=False,
            cwd=directory,
        )
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    assert done.returncode == 0, f"{script or command}: {done.returncode}\n{said}"
    return said


def open_to_others(directory: Path) -> None:
    """Lets any user get to a Python that stands in somebody's home; in this copy of the machine."""
    for parent in (directory, *directory.parents):
        parent.chmod(parent.stat().st_mode | 0o011)


def wait_listening(addresses: Iterable[str] = (SERVER, SERVER_IPV6), port: int = SMTP_PORT) -> None:
    """Waits until a server takes connections at all of these addresses."""
    for address in addresses:
        wait_until(
            lambda address=address: _listens(address, port),  # type: ignore[misc]
            seconds=START_SECONDS,
            what=f"a server at {address}, port {port}",
        )


def wait_silent(port: int = SMTP_PORT) -> None:
    """Waits until nothing takes connections there any more."""
    wait_until(
        lambda: not _listens(SERVER, port), seconds=START_SECONDS, what=f"port {port} closed"
    )


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 5) as connection:
            connection.settimeout(5)
            # Its greeting: who leaves before that may be remembered for it.
            return bool(connection.recv(1024))
    except OSError:
        return False


class Foreground:
    """A daemon that stays in the foreground, ended by its process id."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """SIGTERM, and waits until it is gone."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)
        wait_silent()
