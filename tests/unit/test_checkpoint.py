"""Checkpoints and their timestamped cosignatures."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.checkpoint import (
    Checkpoint,
    cosign,
    freshness_time,
    open_checkpoint,
    sign_checkpoint,
)
from registry.errors import MalformedError, SignatureError, VerificationError
from registry.limits import MAX_LOG_SIZE
from registry.merkle import EMPTY_ROOT
from registry.note import MAX_TIME_SECONDS, Cosigner, Signer, UnverifiedNote, open_note

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signed_note.json").read_text())

SIGNER = Signer("registry.example", sha256(b"log").digest())
COSIGNER = Cosigner("registry.example/freshness", sha256(b"freshness").digest())
CHECKPOINT = Checkpoint("registry.example", 1234, sha256(b"root").digest())
NOTE = sign_checkpoint(CHECKPOINT, SIGNER)
NOW = 1_700_000_000

sizes = st.integers(0, MAX_LOG_SIZE)
hashes = st.binary(min_size=32, max_size=32)


@given(sizes, hashes)
def test_a_signed_checkpoint_opens(size: int, root: bytes) -> None:
    """What the log's key signed opens as it was, and signing it again gives the same bytes."""
    checkpoint = Checkpoint("registry.example", size, root)
    signed = sign_checkpoint(checkpoint, SIGNER)
    assert checkpoint == open_checkpoint(signed, SIGNER.verifier())
    assert signed == sign_checkpoint(checkpoint, SIGNER)


def test_the_published_checkpoint_is_read() -> None:
    """The checkpoint of the C2SP document has its origin, size and root, and no other text."""
    text = UnverifiedNote.parse(VECTORS["c2sp_cosigned_checkpoint"].encode()).text
    checkpoint = Checkpoint.parse(text)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert text == checkpoint.text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "registry.example\n1\n",
        CHECKPOINT.text()[:-1],
        CHECKPOINT.text() + "extension\n",
        CHECKPOINT.text().replace("1234", "01234"),
        CHECKPOINT.text().replace("1234", "+1234"),
        CHECKPOINT.text().replace("1234", "-1"),
        CHECKPOINT.text().replace("1234", "1_234"),
        CHECKPOINT.text().replace("1234", "١٢٣٤"),
        CHECKPOINT.text().replace("1234", ""),
        CHECKPOINT.text().replace("1234", str(MAX_LOG_SIZE + 1)),
        CHECKPOINT.text().replace("1234", "9" * 5000),
        CHECKPOINT.text().replace("=", ""),
        CHECKPOINT.text().replace("registry.example", ""),
        CHECKPOINT.text().replace("registry.example", "registry example"),
    ],
)
def test_what_is_not_a_checkpoint(text: str) -> None:
    """A text with another spelling than the one that is signed is refused."""
    with pytest.raises(MalformedError):
        Checkpoint.parse(text)


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    """Whatever a note carries is a checkpoint with exactly that text, or malformed."""
    try:
        checkpoint = Checkpoint.parse(text)
    except MalformedError:
        return
    assert text == checkpoint.text()


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """A key does not sign for another origin, and is not believed if it did."""
    other = Checkpoint("other.example", 1, EMPTY_ROOT)
    with pytest.raises(MalformedError):
        sign_checkpoint(other, SIGNER)
    with pytest.raises(SignatureError):
        open_checkpoint(SIGNER.sign(other.text()), SIGNER.verifier())


def test_a_checkpoint_of_another_key_is_refused() -> None:
    """The right origin under another key of the same name is not the log's."""
    impostor = Signer.generate(SIGNER.name)
    with pytest.raises(SignatureError):
        open_checkpoint(sign_checkpoint(CHECKPOINT, impostor), SIGNER.verifier())


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, difference: int) -> None:
    """No byte of a signed checkpoint can change unnoticed."""
    data = bytearray(NOTE)
    data[at] ^= difference
    with pytest.raises(VerificationError):
        open_checkpoint(bytes(data), SIGNER.verifier())


@given(st.integers(0, MAX_TIME_SECONDS))
def test_a_cosigned_checkpoint_states_a_time(now_s: int) -> None:
    """A cosignature tells its time, and leaves the checkpoint and its signature as they were."""
    cosigned = cosign(NOTE, COSIGNER, now_s)
    assert now_s == freshness_time(cosigned, COSIGNER.verifier())
    assert CHECKPOINT == open_checkpoint(cosigned, SIGNER.verifier())
    assert cosigned.startswith(NOTE)


def test_the_cosigned_message_is_the_specified_one() -> None:
    """A cosignature covers header, time and the whole text (C2SP tlog-cosignature)."""
    (_, signature) = UnverifiedNote.parse(cosign(NOTE, COSIGNER, NOW)).signatures
    plain = Signer("plain", COSIGNER.seed)
    message = f"cosignature/v1\ntime {NOW}\n{CHECKPOINT.text()}"
    (expected,) = UnverifiedNote.parse(plain.sign(message)).signatures
    assert NOW.to_bytes(8) + expected.value == signature.value


def test_cosigning_again_renews() -> None:
    """The newest cosignature takes the older one's place; those of other keys stay."""
    other = Cosigner.generate("other.example/witness")
    note = cosign(cosign(cosign(NOTE, COSIGNER, NOW), other, NOW), COSIGNER, NOW + 5)
    assert NOW + 5 == freshness_time(note, COSIGNER.verifier())
    assert NOW == freshness_time(note, other.verifier())
    assert len(UnverifiedNote.parse(note).signatures) == 3


def test_a_time_cannot_be_changed() -> None:
    """Another time in a cosignature makes it false."""
    parsed = UnverifiedNote.parse(cosign(NOTE, COSIGNER, NOW))
    own, signature = parsed.signatures
    for time_s in (NOW + 1, MAX_TIME_SECONDS + 1):
        changed = type(signature)(
            signature.name, signature.key_id, time_s.to_bytes(8) + signature.value[8:]
        )
        forged = UnverifiedNote(parsed.text, (own, changed)).encode()
        with pytest.raises(SignatureError):
            freshness_time(forged, COSIGNER.verifier())


def test_freshness_needs_the_cosignature() -> None:
    """A checkpoint without the cosigner's signature is not fresh, whoever else cosigned."""
    stranger = Cosigner.generate(COSIGNER.name)
    for note in (NOTE, cosign(NOTE, stranger, NOW)):
        with pytest.raises(SignatureError):
            freshness_time(note, COSIGNER.verifier())


def test_the_log_key_cannot_cosign() -> None:
    """A plain signature over the cosigned message does not pass for a cosignature."""
    signer = Signer(COSIGNER.name, COSIGNER.seed)
    with pytest.raises(SignatureError):
        open_note(signer.sign(CHECKPOINT.text()), [COSIGNER.verifier()])


@pytest.mark.parametrize("now_s", [-1, MAX_TIME_SECONDS + 1])
def test_times_that_cannot_be_stated(now_s: int) -> None:
    """A time outside what the format holds is not cosigned."""
    with pytest.raises(MalformedError):
        cosign(NOTE, COSIGNER, now_s)


@pytest.mark.parametrize("note", [b"", SIGNER.sign("not a checkpoint\n")])
def test_only_checkpoints_are_cosigned(note: bytes) -> None:
    """Anything but a checkpoint is refused before it is cosigned."""
    with pytest.raises(MalformedError):
        cosign(note, COSIGNER, NOW)


@pytest.mark.parametrize(("size", "root"), [(-1, EMPTY_ROOT), (2**63, EMPTY_ROOT), (1, b"")])
def test_checkpoints_that_cannot_be(size: int, root: bytes) -> None:
    """A checkpoint of an impossible size or root cannot be made."""
    with pytest.raises(MalformedError):
        Checkpoint("registry.example", size, root)
