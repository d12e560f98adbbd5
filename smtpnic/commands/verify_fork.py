"""smtpnic verify-fork: evidence of a fork, checked offline with the board's root alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.errors import ConfigurationError
from registry.fork import MAX_EVIDENCE_BYTES, ForkEvidence
from registry.note import encode_base64
from smtpnic.session import Session

EvidenceFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="fork-....json, as a secondary or primary wrote it.")
]


def verify_fork(context: typer.Context, file: EvidenceFile) -> None:
    """Verify that a file proves a fork: that the log's key signed two logs that disagree.

    It asks no server and believes nothing in the file: both checkpoints must carry a signature of
    a log key that the root names (--root, the newest one), and be of one size with two roots, or
    come with a proof that the larger log had another root at the smaller one's size.

    Exit code 0: a fork is proved; 5: the file does not prove one.
    """
    session: Session = context.obj
    # The pinned root alone: no server is asked for later ones.
    keys = session.require_keys(session.settings()).chain
    fork = _load(file).verify(keys)
    session.output.values(
        {
            "finding": "fork",
            "log": keys.name,
            "smaller_size": fork.smaller.size,
            "smaller_root": encode_base64(fork.smaller.root),
            "larger_size": fork.larger.size,
            "larger_root": encode_base64(fork.larger.root),
        }
    )


def _load(path: Path) -> ForkEvidence:
    try:
        with path.open("rb") as file:
            return ForkEvidence.decode(file.read(MAX_EVIDENCE_BYTES + 1))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
