"""The check of a whole primary: what holds, and what is found when something does not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.tile_files import TileFiles
from primary.audit import audit
from primary.changes import CreateHolder, Register
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.errors import DoubtfulStateError
from primary.founding import found
from primary.opening import open_sequencer
from primary.rules import Policy
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys, load_keys
from primary.store.store import Store
from registry.address import Address
from registry.errors import VerificationError
from tests.support.sequencing import CONTACT
from tests.unit.test_primary_founding import PLAN

HOLDER, KEY = bytes(16), bytes(32)
REGISTRATIONS = 300


@dataclass(frozen=True)
class Founded:
    """A primary's files, with a log that fills a tile and a part of the next."""

    settings: PrimarySettings
    keys: SigningKeys

    def execute(self, statement: str) -> None:
        with sqlite3.connect(self.settings.data_dir / "registry.sqlite3") as database:
            database.execute(statement)
        database.close()


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    settings = found(tmp_path / "primary", PLAN)
    keys = load_keys(settings)
    store = Store(settings.store_url)
    file = CheckpointFile(settings.checkpoint_file)
    sequencer = open_sequencer(store, keys.log, file, Policy(lab=True), clock_ms)
    sequencer.commit([CreateHolder(HOLDER, KEY, CONTACT)])
    first = int.from_bytes(Address.parse("198.18.0.0").packed)
    for start in range(0, REGISTRATIONS, 60):
        addresses = [Address((first + start + n).to_bytes(4)) for n in range(60)]
        sequencer.commit(
            [Register(HOLDER, KEY, each, "mail.example.org", "example.org") for each in addresses]
        )
    size = sequencer.head.size
    TileFiles(settings.tiles_dir).append(store.reader.leaf_hashes(0, size), 0)
    sequencer.close()
    store.close()
    return Founded(settings, keys)


def _silent(_done: int, _size: int) -> None:
    pass


def test_a_sound_primary_is_found_sound(founded: Founded) -> None:
    """Every entry is read, and the tiles are covered to the end."""
    seen: list[tuple[int, int]] = []
    report = audit(founded.settings, founded.keys, lambda done, size: seen.append((done, size)))
    assert REGISTRATIONS + 2 == report.live_keys
    assert report.size == report.tiles_size > REGISTRATIONS
    assert (report.size, report.size) == seen[-1]


def test_tiles_that_are_behind_are_no_fault(founded: Founded) -> None:
    """The next start writes what is missing."""
    TileFiles(founded.settings.tiles_dir).truncate_to(270)
    assert 270 == audit(founded.settings, founded.keys, _silent).tiles_size


def _change_entry(founded: Founded) -> None:
    founded.execute("UPDATE entries SET entry = zeroblob(40) WHERE log_index = 100")


def _remove_entry(founded: Founded) -> None:
    founded.execute("DELETE FROM entries WHERE log_index = 100")


def _change_boundary(founded: Founded) -> None:
    founded.execute("UPDATE batches SET root = zeroblob(32) WHERE start = 1")


def _change_tile(founded: Founded) -> None:
    with (founded.settings.tiles_dir / "tile/0/000").open("r+b") as tile:
        tile.seek(5000)
        tile.write(os.urandom(32))


def _change_upper_tile(founded: Founded) -> None:
    (founded.settings.tiles_dir / "tile/1/000").write_bytes(bytes(32))


@pytest.mark.parametrize(
    "damage",
    [_change_entry, _remove_entry, _change_boundary, _change_tile, _change_upper_tile],
)
def test_what_was_changed_is_found(founded: Founded, damage: Callable[[Founded], None]) -> None:
    """An entry, a batch or a tile that is not what was signed (P5)."""
    damage(founded)
    with pytest.raises(VerificationError):
        audit(founded.settings, founded.keys, _silent)


def _remove_record(founded: Founded) -> None:
    founded.execute("DELETE FROM records WHERE log_index = 100")


def _remove_checkpoint(founded: Founded) -> None:
    founded.settings.checkpoint_file.unlink()


@pytest.mark.parametrize("damage", [_remove_record, _remove_checkpoint])
def test_what_would_stop_a_start_is_found(
    founded: Founded, damage: Callable[[Founded], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of a start are part of this one."""
    monkeypatch.setattr("primary.audit.ATTEMPTS", 1)
    damage(founded)
    with pytest.raises(DoubtfulStateError):
        audit(founded.settings, founded.keys, _silent)
