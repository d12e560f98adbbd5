"""Tells the primary where this mirror answers, looks at others for it, and hears how it stands."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from node.logging import get_logger
from registry.errors import VerificationError
from registry.member import Announced
from secondary.follower_status import StatusBoard
from secondary.set_values import Probe, Probed, SetStanding
from secondary.upstream import UpstreamError

# How soon the primary hears of a drain.
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 1.5
MAX_ANSWER_BYTES: Final = 1232
# More than a primary asks.
MAX_PROBES: Final = 32
STOP_SECONDS: Final = 5.0

_log = get_logger("set")


class Announcer(Protocol):
    """Who is told: the primary."""

    def announce(
        self, announced: Announced, probed: Sequence[Probed], *, draining: bool
    ) -> tuple[SetStanding, list[Probe]]:
        """How this mirror stands, and what it shall look at; UpstreamError, MalformedError."""


class Drain:
    """Whether the operator wants nobody sent here: a file, so that it outlasts a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_on(self) -> bool:
        """As it stands."""
        return self._path.exists()

    def begin(self) -> None:
        """Nobody shall be sent here."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def end(self) -> None:
        """Whoever wants may be."""
        self._path.unlink(missing_ok=True)


class Announcing:
    """In a thread of its own."""

    def __init__(
        self,
        primary: Announcer,
        announced: Announced,
        drain: Drain,
        board: StatusBoard,
        every_seconds: float,
    ) -> None:
        self._primary = primary
        self._announced = announced
        self._drain = drain
        self._board = board
        self._every_seconds = every_seconds
        self._probed: list[Probed] = []
        self._refusal = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being asked."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        told, due = None, 0.0
        while not self._stopping.wait(min(LOOK_SECONDS, self._every_seconds)):
            draining = self._drain.is_on
            if draining != told or time.monotonic() >= due:
                told, due = draining, time.monotonic() + self._every_seconds
                self.tell(draining=draining)

    def tell(self, *, draining: bool) -> None:
        """Announce once, and look at what is asked for."""
        probed, self._probed = self._probed, []
        try:
            standing, probes = self._primary.announce(self._announced, probed, draining=draining)
        except (UpstreamError, VerificationError) as error:
            self._refuse(str(error), draining=draining)
            return
        self._refusal = ""
        self._board.set(set_standing=standing)
        self._probed = [ask(probe) for probe in probes[:MAX_PROBES]]

    def _refuse(self, reason: str, *, draining: bool) -> None:
        if reason != self._refusal:
            self._refusal = reason
            _log.warning("set.not_announced", reason=reason)
        self._board.set(set_standing=SetStanding(draining, reason=f"not announced: {reason}"))


def ask(probe: Probe) -> Probed:
    """Ask another mirror once."""
    family = socket.AF_INET if probe.address.family == 4 else socket.AF_INET6
    problem = "no answer in time"
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect((str(probe.address), probe.port))
            sock.send(probe.query)
            with suppress(TimeoutError):
                answer = sock.recv(MAX_ANSWER_BYTES)
                if answer[:2] == probe.query[:2]:
                    return Probed(probe.number, answer)
                problem = "an answer to something else"
        except OSError as error:
            problem = error.strerror or str(error)
    return Probed(probe.number, problem=problem)
