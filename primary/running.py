"""Runs a primary as a process, from its settings file to its end."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

from node.monitoring import Monitoring
from node.tile_files import TileFiles
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.membership.own_certificate import open_certificates
from primary.metrics import PrimaryMetrics
from primary.mirror_heads import check_mirrors
from primary.opening import begin_board, open_sequencer
from primary.primary import Opened, Primary
from primary.rules import Policy
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys, check_keys, load_keys
from primary.store.store import Store

# The writer's thread and the event loop take turns: CPython's 5 ms would be what a lone change
# waits for each time they meet, twice what its commit takes.
SWITCH_SECONDS: Final = 0.001
# A commit's objects live until it is answered, and next to none is in a cycle. CPython's 700 would
# look through them, and now and then through all that was loaded, dozens of times in between.
COLLECT_EVERY: Final = 10_000


class _Phase:
    """Why the primary cannot serve now; empty while it can."""

    def __init__(self) -> None:
        self.reason = "the log is being opened"

    def set(self, reason: str) -> None:
        self.reason = reason

    def get(self) -> str:
        return self.reason


def run(settings: PrimarySettings, settings_file: Path) -> None:
    """Serves until SIGTERM or SIGINT, then drains; raises what stopped it otherwise.

    ConfigurationError, SchemaError, DoubtfulStateError, StoreUnavailableError: it did not start.
    FencedError, SequencerStoppedError: another primary took over, or the disk refused.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    keys = load_keys(settings)
    metrics, phase = PrimaryMetrics(), _Phase()
    http = settings.http
    monitoring = Monitoring(http.listen, http.health, metrics.registry, phase.get)
    monitoring.start()
    try:
        with (
            _opened(settings, settings_file, keys, metrics) as opened,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            _spare_collection()
            runner.run(_serve(opened, phase.set))
    finally:
        monitoring.close()


@contextmanager
def _opened(
    settings: PrimarySettings, settings_file: Path, keys: SigningKeys, metrics: PrimaryMetrics
) -> Iterator[Opened]:
    store = Store(settings.store_url)
    try:
        store.check_schema()
        keys.log.restore(store.reader)
        certificates = open_certificates(settings, keys.log.chain.current)
        check_mirrors(settings.mirrors, certificates.now.authority, store.reader, keys.log)
        sequencer = open_sequencer(
            store,
            keys.log,
            CheckpointFile(settings.checkpoint_file),
            Policy(lab=settings.lab),
            clock_ms,
        )
        try:
            begin_board(sequencer, keys.log)
            check_keys(keys, sequencer.head.size)
            tiles = TileFiles(settings.tiles_dir)
            yield Opened(
                settings, settings_file, keys, store, sequencer, tiles, certificates, metrics
            )
        finally:
            sequencer.close()
    finally:
        store.close()


def _spare_collection() -> None:
    """Leaves out of garbage collection what is there for good, and looks at the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


async def _serve(opened: Opened, set_phase: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Primary(opened).run(stop, set_phase)
