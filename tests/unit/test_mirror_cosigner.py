"""The mirror's key and its last word, on disk: one history, never less of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from registry.checkpoint import Checkpoint
from registry.cosigning import Cosigned, open_cosigned
from registry.errors import ForkError, SequenceError
from secondary.cosigner import KEY_NAME, NOTE_NAME, MirrorCosigner
from tests.support.logs import NumberedLog

ORIGIN, NOW_S = "registry.example", 1_700_000_000
LOG = NumberedLog(ORIGIN)


def cosigner(directory: Path) -> MirrorCosigner:
    return MirrorCosigner(directory, ORIGIN, "mirror-1", lambda: NOW_S)


def cosign(one: MirrorCosigner, size: int, log: NumberedLog = LOG) -> Cosigned:
    return one.cosign(log.note(size), log.checkpoint(size), log)


def test_what_is_cosigned_is_on_disk(tmp_path: Path) -> None:
    """The note carries the log's signature and the mirror's, and is read back after a restart."""
    one = cosigner(tmp_path)
    cosigned = cosign(one, 5)
    assert cosigned == open_cosigned(cosigned.note, one.verifier, LOG.signer.verifier())
    again = cosigner(tmp_path)
    assert (cosigned, one.verifier) == (again.last, again.verifier)
    assert NOW_S == again.last.time_s


def test_the_key_is_private(tmp_path: Path) -> None:
    """It is made on the mirror, and only its owner can read it."""
    cosigner(tmp_path)
    assert 0o600 == (tmp_path / KEY_NAME).stat().st_mode & 0o777


def test_it_never_goes_back(tmp_path: Path) -> None:
    """Not even after a restart, with the whole log made anew."""
    cosign(cosigner(tmp_path), 300)
    with pytest.raises(SequenceError):
        cosign(cosigner(tmp_path), 299)
    assert 300 == cosigner(tmp_path).last.checkpoint.size


@pytest.mark.parametrize("size", [300, 301, 600])
def test_it_never_vouches_for_two_histories(tmp_path: Path, size: int) -> None:
    """Another log is refused as a fork, whether of the same size or larger."""
    before = cosign(cosigner(tmp_path), 300)
    with pytest.raises(ForkError):
        cosign(cosigner(tmp_path), size, NumberedLog(ORIGIN, forked=7))
    assert before == cosigner(tmp_path).last


def test_a_key_without_its_note_signs_no_more(tmp_path: Path) -> None:
    """Nobody knows what it vouched for; a note without its key, or another's, is refused too."""
    cosign(cosigner(tmp_path), 3)
    note = (tmp_path / NOTE_NAME).read_bytes()
    (tmp_path / NOTE_NAME).unlink()
    with pytest.raises(ConfigurationError, match="missing"):
        cosigner(tmp_path)
    (tmp_path / NOTE_NAME).write_bytes(note.replace(b"\n3\n", b"\n2\n"))
    with pytest.raises(ConfigurationError, match="not what"):
        cosigner(tmp_path)
    (tmp_path / NOTE_NAME).write_bytes(note)
    key = (tmp_path / KEY_NAME).read_bytes()
    (tmp_path / KEY_NAME).unlink()
    with pytest.raises(ConfigurationError, match="missing"):
        cosigner(tmp_path)
    (tmp_path / KEY_NAME).write_bytes(key)
    (tmp_path / KEY_NAME).chmod(0o600)
    with pytest.raises(ConfigurationError, match="mirror-2"):
        MirrorCosigner(tmp_path, ORIGIN, "mirror-2")


_KILLED = """
import sys
from pathlib import Path
from secondary.cosigner import MirrorCosigner
from tests.support.logs import NumberedLog
log = NumberedLog("registry.example")
one = MirrorCosigner(Path(sys.argv[1]), "registry.example", "mirror-1")
sys.stdout.buffer.write(one.cosign(log.note(9), log.checkpoint(9), log).note)
"""


@pytest.mark.parametrize(("point", "size"), [("cosign.before_store", 4), ("cosign.after_store", 9)])
def test_killed_it_has_said_nothing_that_is_not_on_disk(
    tmp_path: Path, point: str, size: int
) -> None:
    """kill -9 around the store: no word was given, and the next is checked against the last."""
    cosign(cosigner(tmp_path), 4)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        env=os.environ | {"SMTPNIC_FAILPOINT": point, "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert (-9, b"") == (done.returncode, done.stdout), done.stderr
    again = cosigner(tmp_path)
    assert size == again.last.checkpoint.size
    with pytest.raises(ForkError):
        cosign(again, 9, NumberedLog(ORIGIN, forked=2))
    assert Checkpoint(ORIGIN, 9, LOG.checkpoint(9).root) == cosign(again, 9).checkpoint
