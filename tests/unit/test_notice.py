"""What readers learn from a notice: what the registry's key signed, and nothing else."""

from __future__ import annotations

import pytest

from registry.errors import MalformedError
from registry.fork import ForkEvidence
from registry.note import Signer
from secondary.notice import NOTHING, Condition, Knowledge, Notice, learn
from tests.support.logs import NumberedLog

LOG, OTHER = NumberedLog("registry.example"), NumberedLog("registry.example", forked=3)
VERIFIER = LOG.signer.verifier()
FORK = ForkEvidence(LOG.note(5), OTHER.note(5)).encode()


@pytest.mark.parametrize(
    ("notice", "learnt"),
    [
        (Notice(fork=FORK), Knowledge(is_forked=True)),
        (Notice(ahead=LOG.note(9)), Knowledge(size=9)),
        (Notice(FORK, LOG.note(9)), Knowledge(is_forked=True, size=9)),
        (Notice(fork=ForkEvidence(LOG.note(5), LOG.note(5)).encode()), NOTHING),
        (Notice(fork=b"{}"), NOTHING),
        (Notice(ahead=b"nonsense"), NOTHING),
        (Notice(ahead=NumberedLog("other.example").note(9)), NOTHING),
    ],
)
def test_only_proofs_count(notice: Notice, learnt: Knowledge) -> None:
    """Who can write to etcd cannot stop a mirror with a word."""
    assert learnt == learn(notice.encode(), VERIFIER)


def test_another_key_proves_nothing() -> None:
    """Anyone can sign two logs with a key of their own."""
    stranger = Signer("registry.example", bytes(range(32))).verifier()
    assert NOTHING == learn(Notice(FORK, LOG.note(9)).encode(), stranger)


def test_what_is_no_notice() -> None:
    """It is malformed, and the reader says so."""
    with pytest.raises(MalformedError):
        learn(b"\xff", VERIFIER)


def test_what_a_view_is_worth() -> None:
    """Behind, until it has what was shown; a fork stays one."""
    behind = Knowledge(size=9)
    assert [Condition.BEHIND, Condition.GOOD] == [behind.condition(8), behind.condition(9)]
    assert Condition.GOOD is NOTHING.condition(0)
    assert Condition.FORKED is Knowledge(is_forked=True, size=9).condition(8)
    assert b"" == Notice().encode()
