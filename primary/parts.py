"""Parts of a primary, made as its settings say; nothing of them runs yet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from node.child import Child, ChildPlan
from node.feed import FeedLimits
from node.log_http import LogServer
from node.logging import get_logger
from node.snapshot_files import SnapshotFiles
from node.snapshot_maker import SnapshotMaker
from primary.changes import Change
from primary.metrics import PrimaryMetrics
from primary.published_log import PrimaryLog
from primary.registering.asking import check_direct, take_any
from primary.settings import PrimarySettings

LOOKUP_STOP_SECONDS: Final = 10.0

_log = get_logger("primary")


def snapshot_maker(
    settings: PrimarySettings, settings_file: Path, metrics: PrimaryMetrics
) -> SnapshotMaker:
    """Makes snapshots in a process of its own, which reads the settings again."""
    return SnapshotMaker(
        SnapshotFiles(settings.snapshots_dir),
        # -P: nothing is imported from wherever this was started.
        [sys.executable, "-P", "-m", "primary.snapshot_process", str(settings_file)],
        settings.snapshot_every,
        metrics.snapshot_seconds.set,
    )


def log_server(settings: PrimarySettings, log: PrimaryLog) -> LogServer:
    """The log over HTTP; ConfigurationError where it cannot listen."""
    return LogServer(
        settings.log.listen,
        log,
        connections=settings.log.connections,
        per_client=settings.log.connections_per_client,
    )


def lookup_child(settings: PrimarySettings, settings_file: Path) -> Child | None:
    """The process that answers WHOIS and RDAP, if the settings ask for either."""
    if not settings.answers_lookups:
        return None
    command = [sys.executable, "-P", "-m", "primary.lookup_process", str(settings_file)]
    return Child(
        ChildPlan("lookup", command, os.environ, None, LOOKUP_STOP_SECONDS),
        lambda code: _log.error("lookup.gave_up", code=code, advice="see its message above"),
    )


def public_gate(settings: PrimarySettings) -> Callable[[Change], None]:
    """What anyone may have without showing anything."""
    return check_direct if settings.asks_proofs else take_any


def feed_limits(settings: PrimarySettings) -> FeedLimits:
    """How much of the log may wait for those who follow it."""
    nodes = settings.nodes
    return FeedLimits(
        nodes.subscribers, nodes.subscribers_per_node, nodes.buffered_events, nodes.buffered_bytes
    )
