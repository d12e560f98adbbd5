"""Closed loops: clients that each send a change, wait for its answer, and send the next."""

from __future__ import annotations

import gc
import os
import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.http2 import CallError, Target, UnaryConnection

# Nothing measured here takes longer between two answers.
MAX_SILENCE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load came to: calls answered within `seconds`, and how long one took."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank); 0 of nothing."""
    if not values:
        return 0.0
    # Rounded up in whole numbers: 0.07 * 100 is more than 7.
    rank = -(-percent * len(values) // 100)
    return sorted(values)[max(rank, 1) - 1]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps this process on one core; None leaves it where it is."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class ClosedLoop:
    """So many clients on one target, each on a connection of its own."""

    def __init__(self, target: Target, clients: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections = [UnaryConnection(target) for _ in range(clients)]
        for connection in self._connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def run(self, messages: Iterator[bytes], seconds: float) -> Measured:
        """Sends messages for so long, or until there are no more; answers every call."""
        latencies: list[float] = []
        gc.disable()
        try:
            started = time.perf_counter()
            self._loop(messages, started + seconds, latencies)
            took = time.perf_counter() - started
        finally:
            gc.enable()
        return Measured(
            len(latencies),
            took,
            percentile(latencies, 50) * 1000,
            percentile(latencies, 99) * 1000,
        )

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._connections:
            connection.close()
        self._selector.close()

    def _loop(self, messages: Iterator[bytes], deadline: float, latencies: list[float]) -> None:
        sent_at: dict[UnaryConnection, float] = {}
        clock = time.perf_counter
        for connection, message in zip(self._connections, messages, strict=False):
            sent_at[connection] = clock()
            connection.start(message)
        while sent_at:
            ready = self._selector.select(MAX_SILENCE_SECONDS)
            if not ready:
                raise CallError(f"no answer within {MAX_SILENCE_SECONDS} s")
            for key, _ in ready:
                connection = key.data
                if connection.finish() is None:
                    continue
                now = clock()
                latencies.append(now - sent_at.pop(connection))
                following = next(messages, None) if now < deadline else None
                if following is not None:
                    sent_at[connection] = now
                    connection.start(following)
