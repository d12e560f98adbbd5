"""Signed notes, against the public vectors of C2SP and Go, and against hostile bytes."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError, SignatureError, VerificationError
from registry.limits import MAX_KEY_NAME_BYTES, MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES
from registry.note import (
    CosignatureVerifier,
    Cosigner,
    Signer,
    UnverifiedNote,
    Verifier,
    cosignature_time,
    decode_base64,
    encode_base64,
    open_note,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "signed_note.json").read_text()
)
GO = VECTORS["go"]
TEXT: str = GO["text"]
PETER_LINE: str = GO["peter_signature"]
ENOCH_LINE: str = GO["enoch_signature"]
PETER = Verifier.from_vkey(GO["peter_vkey"])
ENOCH = Verifier.from_vkey(GO["enoch_vkey"])
SIGNER = Signer.from_text(GO["private_key"])

# Any text a note can carry.
note_texts = st.text(
    st.characters(codec="utf-8", min_codepoint=0x20) | st.just("\n"), max_size=200
).map(lambda text: text + "\n")


def note(*lines: str) -> bytes:
    return (TEXT + "\n" + "".join(lines)).encode()


def test_signing_gives_the_published_note() -> None:
    """The published private key makes the published signature."""
    assert note(PETER_LINE) == SIGNER.sign(TEXT)


def test_keys_have_the_published_text_forms() -> None:
    """Private and public text forms are read and written alike."""
    assert GO["private_key"] == SIGNER.to_text()
    assert GO["peter_vkey"] == SIGNER.verifier().vkey()
    assert PETER == SIGNER.verifier()


def test_a_note_with_two_signatures() -> None:
    """Each known key's signature is reported, and a stranger's is passed over."""
    both = note(PETER_LINE, ENOCH_LINE)
    assert ["PeterNeumann"] == [s.name for s in open_note(both, [PETER]).signatures]
    assert ["EnochRoot"] == [s.name for s in open_note(both, [ENOCH]).signatures]
    opened = open_note(both, [ENOCH, PETER])
    assert ["PeterNeumann", "EnochRoot"] == [s.name for s in opened.signatures]
    assert TEXT == opened.text


def test_a_second_signature_of_one_key_is_passed_over() -> None:
    """Repeating a signature neither counts twice nor costs another verification."""
    assert len(open_note(note(PETER_LINE, PETER_LINE), [PETER]).signatures) == 1


@pytest.mark.parametrize("verifiers", [[], [ENOCH]], ids=["no key", "another key"])
def test_a_note_without_a_known_signature(verifiers: list[Verifier]) -> None:
    """A note that no known key signed is not opened."""
    with pytest.raises(SignatureError):
        open_note(note(PETER_LINE), verifiers)


@pytest.mark.parametrize(
    "line",
    [
        PETER_LINE[:60] + "ABCD" + PETER_LINE[60:],
        PETER_LINE[:60] + PETER_LINE[64:],
        PETER_LINE.replace("ZJku", "ZJkv"),
    ],
    ids=["too long", "too short", "changed"],
)
def test_a_false_signature_of_a_known_key(line: str) -> None:
    """A false signature of a known key spoils the note, whatever else it carries."""
    with pytest.raises(SignatureError):
        open_note(note(line, ENOCH_LINE), [PETER, ENOCH])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        TEXT.encode(),
        TEXT.encode() + b"\n",
        note(PETER_LINE)[:-1],
        b"\x01" + note(PETER_LINE),
        b"\xff" + note(PETER_LINE),
        note(PETER_LINE.replace("\n", "\r\n")),
        note("— Bad Name " + PETER_LINE.split(" ")[2]),
        note(PETER_LINE.replace("PeterNeumann", "Peter+Neumann")),
        note(PETER_LINE.replace("PeterNeumann", "Peter\N{EN SPACE}Neumann")),
        note(PETER_LINE.replace("PeterNeumann", "P" * (MAX_KEY_NAME_BYTES + 1))),
        note(PETER_LINE.replace("PeterNeumann ", "")),
        note(PETER_LINE.replace("— ", "- ")),
        note(PETER_LINE, "Unexpected line.\n"),
        note("— PeterNeumann \n"),
        note("— PeterNeumann x08goA==\n"),
        note("— PeterNeumann x08go/Y==\n"),
        note(PETER_LINE.replace("=", "")),
        note(*[PETER_LINE] * (MAX_NOTE_SIGNATURES + 1)),
        b"x" * MAX_NOTE_BYTES + note(PETER_LINE),
    ],
)
def test_what_is_not_a_note(data: bytes) -> None:
    """Bytes that break the format are refused before any signature is looked at."""
    with pytest.raises(MalformedError):
        open_note(data, [PETER])


@given(st.integers(0, len(note(PETER_LINE)) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, difference: int) -> None:
    """No single byte of a note can change without the note being refused."""
    data = bytearray(note(PETER_LINE))
    data[at] ^= difference
    with pytest.raises(VerificationError):
        open_note(bytes(data), [PETER])


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(data: bytes) -> None:
    """Whatever a peer sends in place of a signature or a note is refused by its own error."""
    with pytest.raises(VerificationError):
        open_note(data, [PETER])
    with pytest.raises(VerificationError):
        open_note(note("— ") + data, [PETER])


@given(note_texts)
def test_any_text_can_be_signed(text: str) -> None:
    """What was signed opens as the same text, empty lines and all."""
    signed = SIGNER.sign(text)
    assert text == open_note(signed, [PETER]).text
    assert signed == UnverifiedNote.parse(signed).encode()


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "\ud800\n"])
def test_text_that_no_note_can_carry(text: str) -> None:
    """A text that could not be read back is not signed."""
    with pytest.raises(MalformedError):
        SIGNER.sign(text)


def test_the_published_notes_are_read() -> None:
    """The notes of the C2SP documents are well formed, empty lines in the text included."""
    parsed = UnverifiedNote.parse(VECTORS["c2sp_note"].encode())
    assert parsed.text.endswith(":\n\ned è subito sera.\n")
    assert VECTORS["c2sp_note"].encode() == parsed.encode()
    log, witness = UnverifiedNote.parse(VECTORS["c2sp_cosigned_checkpoint"].encode()).signatures
    assert log.name == "example.com/behind-the-sofa"
    assert VECTORS["c2sp_cosigned_time"] == cosignature_time(witness.value)


def test_a_key_id_is_the_hash_of_name_type_and_key() -> None:
    """Identifiers follow C2SP, and tell a cosignature from a signature of the same key."""
    for verifier, kind in [
        (Verifier("witness", PETER.public_key), b"\x01"),
        (CosignatureVerifier("witness", PETER.public_key), b"\x04"),
    ]:
        expected = sha256(b"witness\n" + kind + PETER.public_key).digest()[:4]
        assert expected == verifier.key_id


@pytest.mark.parametrize("key", [GO["peter_vkey"], *GO["bad_vkeys"]])
def test_a_mangled_public_key_is_refused(key: str) -> None:
    """No part of a public key's text, and none with a character changed, is a key."""
    for start in range(len(key) + 1):
        for end in range(start, len(key) + 1):
            if key[start:end] != GO["peter_vkey"]:
                with pytest.raises(MalformedError):
                    Verifier.from_vkey(key[start:end])
    for at, char in enumerate(key):
        with pytest.raises(MalformedError):
            Verifier.from_vkey(key[:at] + chr(ord(char) + 1) + key[at + 1 :])


def test_a_mangled_private_key_is_refused() -> None:
    """No private key with a character changed or left out is a key, and no error shows it."""
    key = GO["private_key"]
    for at, char in enumerate(key):
        for changed in (key[:at] + chr(ord(char) + 1) + key[at + 1 :], key[:at] + key[at + 1 :]):
            with pytest.raises(MalformedError) as caught:
                Signer.from_text(changed)
            assert key[-20:] not in str(caught.value)


def test_keys_of_the_other_type_are_refused() -> None:
    """A signing key is not taken for a cosigning one, nor the reverse."""
    cosigner = Cosigner.generate("freshness.example")
    with pytest.raises(MalformedError):
        Signer.from_text(cosigner.to_text())
    with pytest.raises(MalformedError):
        Verifier.from_vkey(cosigner.verifier().vkey())
    with pytest.raises(MalformedError):
        Cosigner.from_text(SIGNER.to_text())


@pytest.mark.parametrize(
    "key", [SIGNER, Cosigner.generate("freshness.example")], ids=["signer", "cosigner"]
)
def test_a_private_key_does_not_show_itself(key: Signer | Cosigner) -> None:
    """A private key in a log line or a traceback shows its public half only."""
    assert repr(key.seed) not in repr(key)
    assert encode_base64(key.seed)[:-4] not in repr(key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\x00b", "\ud800", "é" * 128])
def test_names_that_no_key_can_have(name: str) -> None:
    """A key whose name would break its signature line cannot be made."""
    with pytest.raises(MalformedError):
        Signer.generate(name)
    with pytest.raises(MalformedError):
        Verifier(name, PETER.public_key)


@given(st.text(max_size=20), st.binary(min_size=31, max_size=33))
def test_every_key_survives_its_text_form(name: str, key: bytes) -> None:
    """A key that can be made can be written and read back; the others are refused."""
    for half in (Signer, Cosigner):
        try:
            signer = half(name, key)
        except MalformedError:
            continue
        assert signer == half.from_text(signer.to_text())
        verifier = signer.verifier()
        assert verifier == type(verifier).from_vkey(verifier.vkey())


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_any_public_key_is_answered(key: bytes, signature: bytes) -> None:
    """A pinned key that is no point on the curve is refused, or verifies nothing."""
    try:
        verifier = Verifier("PeterNeumann", key)
    except MalformedError:
        return
    with pytest.raises(SignatureError):
        verifier.verify(TEXT.encode(), signature)


@pytest.mark.parametrize(
    "key",
    [
        "00" * 32,
        "00" * 31 + "80",
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "ff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ],
)
def test_keys_that_anyone_can_sign_for(key: str) -> None:
    """A point of small order, like a key file full of zeroes, is no key."""
    with pytest.raises(MalformedError):
        Verifier("PeterNeumann", bytes.fromhex(key))


@given(st.binary(max_size=40))
def test_base64_has_one_spelling(data: bytes) -> None:
    """Base64 is read back, and only as it is written."""
    text = encode_base64(data)
    assert data == decode_base64(text)
    for other in (text + "\n", text + "=", " " + text, text + "é"):
        with pytest.raises(MalformedError):
            decode_base64(other)
