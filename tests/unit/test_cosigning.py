"""What a mirror may cosign, and the evidence of a fork."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.checkpoint import open_checkpoint
from registry.cosigning import (
    Cosigned,
    check_next,
    cosigner_name,
    open_cosigned,
    sign_for,
    with_signatures,
)
from registry.errors import (
    ForkError,
    ForkProof,
    MalformedError,
    ProofError,
    SequenceError,
    SignatureError,
)
from registry.fork import ForkEvidence
from registry.note import Cosigner, Signer, UnverifiedNote
from tests.support.logs import NumberedLog

ORIGIN = "registry.example"
SIGNER = Signer(ORIGIN, bytes(32))
COSIGNER = Cosigner(cosigner_name(ORIGIN, "mirror-1"), bytes(range(32)))
NOW_S = 1_700_000_000

sizes = st.integers(1, 700)


class Log(NumberedLog):
    """A log, and what a mirror of it cosigned."""

    def cosigned(self, size: int) -> Cosigned:
        return sign_for(self.note(size), COSIGNER, NOW_S)


HONEST = Log(ORIGIN)


def test_a_cosigned_checkpoint_opens() -> None:
    """Both signatures are verified, the time is the one stated, the log's own is kept."""
    cosigned = HONEST.cosigned(7)
    opened = open_cosigned(cosigned.note, COSIGNER.verifier(), SIGNER.verifier())
    assert opened == cosigned
    assert NOW_S == opened.time_s
    assert HONEST.checkpoint(7) == open_checkpoint(cosigned.note, SIGNER.verifier())


def test_without_the_cosignature_nothing_opens() -> None:
    """The log's signature alone says nothing about a mirror, and a mirror's nothing of the log."""
    with pytest.raises(SignatureError):
        open_cosigned(HONEST.note(7), COSIGNER.verifier(), SIGNER.verifier())
    text = HONEST.checkpoint(7).text()
    alone = sign_for(Signer("other.example", bytes(32)).sign(text), COSIGNER, 1)
    with pytest.raises(SignatureError):
        open_cosigned(alone.note, COSIGNER.verifier(), SIGNER.verifier())


@given(sizes, sizes)
def test_only_a_log_that_goes_on_is_cosigned(one: int, other: int) -> None:
    """From a cosigned size to a larger one or the same of the same log; never back."""
    old, new = min(one, other), max(one, other)
    check_next(HONEST.cosigned(old), HONEST.note(new), HONEST.checkpoint(new), HONEST)
    if old < new:
        with pytest.raises(SequenceError):
            check_next(HONEST.cosigned(new), HONEST.note(old), HONEST.checkpoint(old), HONEST)


@given(sizes, sizes, st.data())
def test_another_history_is_never_cosigned(one: int, other: int, data: st.DataObject) -> None:
    """A log that had other leaves before what was cosigned is a fork, and the error proves it."""
    old, new = min(one, other), max(one, other)
    forked = Log(ORIGIN, forked=data.draw(st.integers(0, old - 1)))
    with pytest.raises(ForkError) as caught:
        check_next(HONEST.cosigned(old), forked.note(new), forked.checkpoint(new), forked)
    evidence = ForkEvidence.of(caught.value)
    fork = ForkEvidence.decode(evidence.encode()).verify(SIGNER.verifier())
    assert (old, new) == (fork.smaller.size, fork.larger.size)


def test_the_first_checkpoint_may_be_any() -> None:
    """Who never cosigned has an empty log, which is the beginning of every log."""
    check_next(HONEST.cosigned(0), HONEST.note(9), HONEST.checkpoint(9), HONEST)


def test_tiles_of_another_log_are_no_fork() -> None:
    """Tiles that do not lead to the signed root prove nothing about the log."""
    forked = Log(ORIGIN, forked=2)
    with pytest.raises(ProofError):
        check_next(HONEST.cosigned(5), HONEST.note(9), HONEST.checkpoint(9), forked)


def test_signatures_take_the_place_of_older_ones() -> None:
    """A note has one signature of each key, the newest; those of others stay."""
    other = Cosigner(cosigner_name("registry.example", "mirror-2"), bytes(32))
    note = sign_for(sign_for(HONEST.note(3), COSIGNER, 1).note, other, 2).note
    newer = sign_for(HONEST.note(3), COSIGNER, 9).signature
    lines = UnverifiedNote.parse(with_signatures(note, [newer])).signatures
    assert [SIGNER.name, other.name, COSIGNER.name] == [line.name for line in lines]
    assert newer == lines[-1]


def test_a_fork_of_one_size_needs_no_proof() -> None:
    """Two roots of one size, both signed."""
    fork = ForkEvidence(HONEST.note(5), Log(ORIGIN, forked=2).note(5)).verify(SIGNER.verifier())
    assert fork.smaller.size == fork.larger.size == 5


@pytest.mark.parametrize(
    "evidence",
    [
        ForkEvidence(HONEST.note(5), HONEST.note(5)),
        ForkEvidence(HONEST.note(5), HONEST.note(9)),
        ForkEvidence(HONEST.note(5), HONEST.note(9), ForkProof(HONEST.checkpoint(5).root, ())),
        ForkEvidence(HONEST.note(4), HONEST.note(9), ForkProof(bytes(32), (bytes(32),))),
    ],
    ids=["the same", "no proof", "a proof too short", "a false proof"],
)
def test_what_proves_no_fork_is_refused(evidence: ForkEvidence) -> None:
    """Checkpoints that may be of one log are none."""
    with pytest.raises(ProofError):
        evidence.verify(SIGNER.verifier())


def test_a_fork_of_another_key_is_none() -> None:
    """Whoever has any key can sign two logs."""
    with pytest.raises(SignatureError):
        ForkEvidence(HONEST.note(5), Log(ORIGIN, forked=2).note(5)).verify(
            Signer(SIGNER.name, bytes(range(32))).verifier()
        )


@given(st.binary(max_size=200) | st.just(b"[]") | st.just(b'{"format": "smtpnic-fork-1"}'))
def test_other_files_are_no_evidence(data: bytes) -> None:
    """Anything else is malformed."""
    with pytest.raises(MalformedError):
        ForkEvidence.decode(data)
