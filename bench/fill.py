"""Fills an empty register through the primary's own sequencer, without gRPC in between.

python -m bench.fill PRIMARY.toml COUNT, while that primary does not run. What it leaves is what
the same registrations sent by many clients would leave: batches, signed and synced one by one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from bench.registrant import CONTACT, DOMAIN, host_of
from lab.people import addresses
from primary.changes import Change, CreateHolder, Register
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.opening import open_sequencer
from primary.rules import Policy
from primary.sequencer import MAX_CHANGES_PER_COMMIT
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.store import Store
from registry.address import Address

REGISTRATIONS_A_HOLDER: Final = 100


def changes(count: int) -> Iterator[Change]:
    """Holders, each followed by its registrations; `count` registrations in all."""
    source = addresses()
    for start in range(0, count, REGISTRATIONS_A_HOLDER):
        holder, key = os.urandom(16), os.urandom(32)
        yield CreateHolder(holder, key, CONTACT)
        for address in islice(source, min(REGISTRATIONS_A_HOLDER, count - start)):
            yield Register(holder, key, Address.parse(address), host_of(address), DOMAIN)


def commit_all(settings: PrimarySettings, source: Iterator[Change]) -> None:
    """Commits the changes as a primary of these settings; SystemExit when one is refused."""
    store = Store(settings.store_url)
    sequencer = open_sequencer(
        store,
        load_keys(settings).log,
        CheckpointFile(settings.checkpoint_file),
        Policy(lab=settings.lab),
        clock_ms,
    )
    while some := list(islice(source, MAX_CHANGES_PER_COMMIT)):
        for part in sequencer.commit(some):
            for outcome in part.outcomes:
                if not isinstance(outcome, int):
                    raise SystemExit(f"refused: {outcome}")
    sequencer.close()
    store.close()


if __name__ == "__main__":
    commit_all(PrimarySettings.load(Path(sys.argv[1])), changes(int(sys.argv[2])))
