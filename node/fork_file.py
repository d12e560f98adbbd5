"""Evidence of a fork as a file, for a person to publish and for anyone to verify."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from node.files import write_atomic
from registry.errors import ForkError
from registry.fork import ForkEvidence

NAME_DIGITS: Final = 16
PUBLIC_MODE: Final = 0o644


def keep_evidence(fork: ForkError, directory: Path) -> Path:
    """Writes what proves the fork to a file that is named by what it is; returns where.

    StorageError: the disk refuses.
    """
    digest = sha256(fork.ours + b"\0" + fork.theirs).hexdigest()[:NAME_DIGITS]
    path = directory / f"fork-{digest}.json"
    write_atomic(path, ForkEvidence.of(fork).encode(), PUBLIC_MODE)
    return path
