"""The process that makes one snapshot: `python -m primary.snapshot_process primary.toml`.

It reads the database at one moment and writes the file at its leisure, with the lowest
priority; the primary that started it goes on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from node.exits import ExitCode, exit_code
from node.snapshot_files import SnapshotFile, SnapshotFiles
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.reader import Reader, SnapshotView
from primary.store.store import Store
from registry.batch import SignedState
from registry.checkpoint import Checkpoint, CheckpointSigner, sign_checkpoint
from registry.errors import RegistryError
from registry.note import Signer
from registry.snapshot import SnapshotHeader

# Below everything that a person waits for (nice(1)).
NICENESS: Final = 10


def make_snapshot(
    reader: Reader, files: SnapshotFiles, signer: Signer | CheckpointSigner
) -> SnapshotFile:
    """Writes a snapshot of the log as it stands. StorageError, StoreUnavailableError.

    ValueError: the log is empty.
    """
    with reader.snapshot() as view:
        state = view.head.state
        if state is None:
            raise ValueError("an empty log has no snapshot")
        header = _header(view, signer, state.live_keys)
        return files.write(view.head.size, state.state_root, header, view.records())


def _header(view: SnapshotView, signer: Signer | CheckpointSigner, records: int) -> SnapshotHeader:
    head = view.head
    checkpoint = Checkpoint(signer.name, head.size, head.root)
    signed_state = SignedState(
        sign_checkpoint(checkpoint, signer), view.state_entry, view.audit_path
    )
    return SnapshotHeader(signed_state, head.compact_range.nodes, records)


def main() -> None:
    """Makes a snapshot for the primary whose settings file is the argument."""
    os.nice(NICENESS)
    settings = PrimarySettings.load(Path(sys.argv[1]))
    signer = load_keys(settings).log
    store = Store(settings.store_url)
    try:
        signer.restore(store.reader)
        make_snapshot(store.reader, SnapshotFiles(settings.snapshots_dir), signer)
    except RegistryError as error:
        sys.stderr.write(f"snapshot: {error}\n")
        raise SystemExit(exit_code(error)) from None
    finally:
        store.close()
    raise SystemExit(ExitCode.OK)


if __name__ == "__main__":
    main()
