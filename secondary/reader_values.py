"""What a reader of the replica is given, counts, and loads views for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from secondary.etcd import EtcdStore
from secondary.layout import Layout
from secondary.roots import Roots


class Cause(StrEnum):
    """Why a view is loaded."""

    START = "start"
    LOST = "watch lost"
    REFUSED = "refused"
    FLIP = "another generation"
    CHECK = "check"


@dataclass(slots=True)
class ReaderCounts:
    """What happened since the start. One thread counts, any thread reads."""

    loads: int = 0
    # Loads and cursors that were not what the registry signed.
    refused: int = 0
    # Views found to differ from what etcd held, at one and the same size of the log.
    diverged: int = 0
    # Views loaded that were older than the one that served, and stayed so.
    behind: int = 0
    # Revisions of finished tracks that changed records without the cursor.
    strange: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the replica is, and whose signatures count.

    `extension_file` is where an operator's extension of staleness stands, if one does.
    """

    store: EtcdStore
    layout: Layout
    roots: Roots
    extension_file: Path | None = None
