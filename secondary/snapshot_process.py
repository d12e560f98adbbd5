"""The process that makes one snapshot: `python -m secondary.snapshot_process secondary.toml`.

A million records take many seconds of one core; here they take them from nobody.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.exits import ExitCode, exit_code
from node.snapshot_files import SnapshotFiles
from registry.errors import RegistryError
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError
from secondary.replica_snapshot import write_snapshot
from secondary.roots import Roots
from secondary.settings import SecondarySettings

# Below everything that a person waits for (nice(1)).
NICENESS: Final = 10


def main() -> None:
    """Makes a snapshot for the secondary whose settings file is the argument."""
    os.nice(NICENESS)
    settings = SecondarySettings.load(Path(sys.argv[1]))
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    try:
        files = SnapshotFiles(settings.relayed_snapshots_dir)
        write_snapshot(store, settings.layout, Roots.load(settings), files)
    except (RegistryError, StorageError, EtcdError) as error:
        sys.stderr.write(f"snapshot: {error}\n")
        raise SystemExit(exit_code(error)) from None
    finally:
        store.close()
    raise SystemExit(ExitCode.OK)


if __name__ == "__main__":
    main()
