"""verify-fork: a file is believed for what the board's log keys signed, and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.fork import ForkEvidence
from smtpnic.cli import main
from tests.support.boards import pin_file
from tests.support.log_builder import LogBuilder


def log_with(address: str) -> LogBuilder:
    log = LogBuilder()
    log.put_registration(address)
    log.commit()
    return log


LOG, OTHER = log_with("192.0.2.1"), log_with("192.0.2.2")


def check(path: Path, evidence: bytes) -> int:
    file = path / "fork.json"
    file.write_bytes(evidence)
    root = pin_file(LOG, path)
    return main(["--json", "--root", str(root), "verify-fork", str(file)])


def test_a_fork_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two checkpoints of one size, both signed: exit code 0, and what they say."""
    assert check(tmp_path, ForkEvidence(LOG.checkpoint, OTHER.checkpoint).encode()) == 0
    shown = json.loads(capsys.readouterr().out)
    assert ("fork", LOG.size, LOG.size) == (
        shown["finding"],
        shown["smaller_size"],
        shown["larger_size"],
    )
    assert shown["smaller_root"] != shown["larger_root"]


@pytest.mark.parametrize(
    "evidence",
    [ForkEvidence(LOG.checkpoint, LOG.checkpoint).encode(), b"{}"],
    ids=["no fork", "no evidence"],
)
def test_what_proves_nothing_is_refused(tmp_path: Path, evidence: bytes) -> None:
    """Exit code 5: what the file holds is not what the registry signed."""
    assert check(tmp_path, evidence) == 5


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Exit code 2: the command line is wrong."""
    root = str(pin_file(LOG, tmp_path))
    assert main(["--root", root, "verify-fork", str(tmp_path / "none")]) == 2
