"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from node.limits import (
    BACKOFF_FACTOR,
    BACKOFF_FIRST_SECONDS,
    BACKOFF_JITTER,
    BACKOFF_MAX_SECONDS,
)


@dataclass(slots=True)
class Backoff:
    """Delays that grow with each failure, with jitter, so that many do not return at once.

    gRPC's connection back-off: each delay is the last times `BACKOFF_FACTOR`, up to
    `max_seconds`, give or take a fifth. The same `random` gives the same delays.
    """

    random: Random
    first_seconds: float = BACKOFF_FIRST_SECONDS
    max_seconds: float = BACKOFF_MAX_SECONDS
    _next_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.first_seconds <= self.max_seconds:
            raise ValueError(f"{self.first_seconds} s to {self.max_seconds} s is no back-off")
        self._next_seconds = self.first_seconds

    def next_delay(self) -> float:
        """Seconds to wait after one more failure."""
        delay = self._next_seconds
        self._next_seconds = min(delay * BACKOFF_FACTOR, self.max_seconds)
        return delay * self.random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)

    def reset(self) -> None:
        """Starts again from the first delay, after a success."""
        self._next_seconds = self.first_seconds
