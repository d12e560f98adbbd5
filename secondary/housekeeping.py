"""What a replica needs from time to time: old generations deleted, the current one checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from node.failpoints import failpoint
from node.logging import get_logger
from registry.errors import OutdatedError
from secondary.background import lower_priority
from secondary.etcd import EtcdStore
from secondary.etcd_use import EtcdUse
from secondary.etcd_values import EtcdError
from secondary.generations import CLAIM_SECONDS, Generations
from secondary.layout import Generation
from secondary.replica import Replica, ReplicaDamagedError, read_replica
from secondary.roots import Roots

LOOK_SECONDS: Final = 1.0
# Once between two scrapes, by Prometheus' habit.
USE_SECONDS: Final = 15.0
# Between the steps of a deletion, so that etcd and its watchers have time for other things.
PAUSE_SECONDS: Final = 0.02

Doubt = Callable[[ReplicaDamagedError], None]

_log = get_logger("housekeeping")


class Housekeeping:
    """A thread beside a follower."""

    def __init__(
        self,
        store: EtcdStore,
        generations: Generations,
        roots: Roots,
        use: EtcdUse,
        *,
        recheck_seconds: float,
        old_generation_seconds: float,
    ) -> None:
        self._store = store
        self._generations = generations
        self._roots = roots
        self._use = use
        self._recheck_seconds = recheck_seconds
        self._old_generation_seconds = old_generation_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, replica: Callable[[], Replica | None], doubt: Doubt) -> None:
        """Begin. `replica` tells what is followed with; `doubt` is called when it is damaged."""
        self._thread = threading.Thread(
            target=self._run, args=(replica, doubt), name="housekeeping", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End soon, in the middle of a deletion if need be."""
        self._stopping.set()

    def _run(self, replica: Callable[[], Replica | None], doubt: Doubt) -> None:
        lower_priority()
        seen: Generation | None = None
        cleanups: list[float] = []
        recheck, measure = time.monotonic() + self._recheck_seconds, 0.0
        while not self._stopping.wait(LOOK_SECONDS):
            held, now = replica(), time.monotonic()
            if now >= measure:
                self._use.look()
                measure = now + USE_SECONDS
            if held is not None and held.generation != seen:
                seen = held.generation
                first = now + self._old_generation_seconds
                # The second finds what a follower had claimed that died with the first load.
                cleanups = [first, first + CLAIM_SECONDS]
            if cleanups and now >= cleanups[0]:
                del cleanups[0]
                self._clean_up()
            if held is not None and now >= recheck:
                self._check(held.generation, doubt)
                recheck = time.monotonic() + self._recheck_seconds

    def _clean_up(self) -> None:
        """Delete the generations that nobody needs."""
        try:
            for generation in self._generations.leftovers():
                deleted = 0
                for count in self._generations.delete(generation):
                    failpoint("cleanup.in_deletion")
                    deleted += count
                    if self._stopping.wait(PAUSE_SECONDS):
                        return
                _log.info("generation.deleted", generation=generation.number, keys=deleted)
        except (EtcdError, OutdatedError) as error:
            _log.warning("cleanup.failed", error=type(error).__name__, reason=str(error))

    def _check(self, generation: Generation, doubt: Doubt) -> None:
        """Compute the state root from what etcd holds, and compare it with what is signed."""
        try:
            if self._generations.served().generation == generation:
                stored, _, _ = read_replica(self._store, generation, self._roots)
                _log.info("replica.checked", size=stored.position.checkpoint.size)
        except ReplicaDamagedError as error:
            _log.error("replica.damaged", generation=generation.number, reason=str(error))
            doubt(error)
        except (EtcdError, OutdatedError) as error:
            _log.warning("check.failed", error=type(error).__name__, reason=str(error))
