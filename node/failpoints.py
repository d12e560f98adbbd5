"""Places where a test kills the process, to see what a crash there leaves behind.

A process started with SMTPNIC_FAILPOINT=NAME dies by SIGKILL when it first passes
`failpoint("NAME")`; with NAME:3 it dies the third time. Unset, a failpoint costs one call.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from node.errors import ConfigurationError

VARIABLE: Final = "SMTPNIC_FAILPOINT"


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A named place, and the how manyth pass through it that kills; counted from 1."""

    name: str
    nth: int = 1
    # next() on a count is one step of the interpreter: exact with any number of threads.
    _passes: count[int] = field(default_factory=lambda: count(1), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name or self.nth < 1:
            raise ConfigurationError(f"{VARIABLE}: expected NAME or NAME:NTH with NTH from 1")

    @classmethod
    def parse(cls, text: str) -> Failpoint:
        """The failpoint that NAME or NAME:NTH asks for; ConfigurationError if neither."""
        name, colon, nth = text.partition(":")
        if colon and not (nth.isascii() and nth.isdigit()):
            raise ConfigurationError(f"{VARIABLE}={text}: expected NAME or NAME:NTH")
        return cls(name, int(nth) if colon else 1)

    def is_due(self, name: str) -> bool:
        """Counts a pass through `name`; True when it is the one to die at."""
        return name == self.name and next(self._passes) == self.nth


def armed_by(environment: Mapping[str, str]) -> Failpoint | None:
    """The failpoint that the environment asks for, if any."""
    text = environment.get(VARIABLE)
    return Failpoint.parse(text) if text else None


_ARMED: Final = armed_by(os.environ)


def failpoint(name: str) -> None:
    """Kills this process, without any clean-up, if a test asked for it here."""
    if _ARMED is not None and _ARMED.is_due(name):
        os.kill(os.getpid(), signal.SIGKILL)
