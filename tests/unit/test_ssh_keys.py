"""SSH keys and signatures: OpenSSH and this software take each other's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import ssh_keys, sshsig
from registry.errors import MalformedError, SignatureError
from registry.note import encode_base64
from registry.ssh_keys import ECDSA_P256, ED25519, SK_ECDSA_P256, SK_ED25519, SshKey, string
from registry.sshsig import SshSignature
from tests.support.boards import Signatory, private_key

ALL = (ED25519, ECDSA_P256, SK_ED25519, SK_ECDSA_P256)
TEXT = "smtpnic-root 1\nwhatever\n"
NAMESPACE = "smtpnic-root"

needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def keygen(*arguments: str, text: str = "") -> str:
    """What ssh-keygen says."""
    done = subprocess.run(
        ["ssh-keygen", *arguments], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout


@needs_openssh
@pytest.mark.parametrize("algorithm", ALL)
def test_openssh_verifies_what_is_signed_here(algorithm: str, tmp_path: Path) -> None:
    """`ssh-keygen -Y check-novalidate` takes our signatures, and finds the same key."""
    alice = Signatory.named("alice", algorithm)
    file = tmp_path / "text.sig"
    file.write_text(alice.sign(TEXT, NAMESPACE).armor())
    said = keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(file), text=TEXT)
    assert alice.member.key.fingerprint() in said


@needs_openssh
@pytest.mark.parametrize("kind", [("ed25519",), ("ecdsa", "-b", "256")])
def test_what_openssh_signs_is_verified_here(kind: tuple[str, ...], tmp_path: Path) -> None:
    """A signature of `ssh-keygen -Y sign` verifies, and of the signed text only."""
    key = tmp_path / "key"
    keygen("-q", "-t", *kind, "-N", "", "-f", str(key))
    text = tmp_path / "text"
    text.write_text(TEXT)
    keygen("-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(text))
    signature = SshSignature.from_armor((tmp_path / "text.sig").read_text())
    signature.verify(TEXT.encode(), NAMESPACE)
    assert SshKey.parse((tmp_path / "key.pub").read_text()) == signature.key
    with pytest.raises(SignatureError):
        signature.verify(TEXT.encode() + b"\n", NAMESPACE)


@pytest.mark.parametrize("algorithm", ALL)
def test_a_signature_serves_one_purpose(algorithm: str) -> None:
    """A signature for one namespace is none for another."""
    signature = Signatory.named("alice", algorithm).sign(TEXT, NAMESPACE)
    signature.verify(TEXT.encode(), NAMESPACE)
    with pytest.raises(SignatureError):
        signature.verify(TEXT.encode(), "smtpnic-decision")


@pytest.mark.parametrize("algorithm", [SK_ED25519, SK_ECDSA_P256])
@pytest.mark.parametrize("application", [b"ssh:", b""])
def test_a_token_has_to_be_touched(algorithm: str, application: bytes) -> None:
    """What a security token signed by itself counts for nothing, whatever it was made for."""
    key = private_key("alice", algorithm)
    asleep = Signatory("alice", key, token=True, touched=False, application=application)
    with pytest.raises(SignatureError, match="touched"):
        asleep.sign(TEXT, NAMESPACE).verify(TEXT.encode(), NAMESPACE)
    touched = Signatory("alice", key, token=True, application=application)
    touched.sign(TEXT, NAMESPACE).verify(TEXT.encode(), NAMESPACE)
    # Without what a token adds it would be an ordinary key's signature, of the same point.
    plain = Signatory("alice", key).sign(TEXT, NAMESPACE)
    body = string(algorithm.encode()) + plain.signature[len(string(_plain(algorithm))) :]
    bare = SshSignature(asleep.member.key, NAMESPACE, "sha512", body)
    with pytest.raises((SignatureError, MalformedError)):
        bare.verify(TEXT.encode(), NAMESPACE)


def _plain(algorithm: str) -> bytes:
    return (ED25519 if algorithm == SK_ED25519 else ECDSA_P256).encode()


@pytest.mark.parametrize("algorithm", ALL)
def test_one_encoding(algorithm: str) -> None:
    """Key and signature come back from their bytes and texts as they were."""
    alice = Signatory.named("alice", algorithm)
    signature = alice.sign(TEXT, NAMESPACE)
    assert SshSignature.decode(signature.encode()) == signature
    assert SshSignature.from_armor(signature.armor()) == signature
    assert SshKey.parse(alice.member.key.text() + " alice@example.org") == alice.member.key


def test_a_key_has_one_form() -> None:
    """A compressed point, an unknown type, and a key for which anyone signs are refused."""
    point = SshKey.of(private_key("alice", ECDSA_P256)).point
    compressed = bytes([2 + point[-1] % 2]) + point[1:33]
    for blob in (
        string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(compressed),
        string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\x04" + bytes(64)),
        string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(point),
        string(b"ssh-rsa") + string(b"\x03") + string(b"\x00" * 256),
        string(b"ssh-ed25519") + string(bytes(32)),
        string(b"ssh-ed25519") + string(bytes(31)),
        SshKey.of(private_key("alice")).blob + b"\x00",
    ):
        with pytest.raises(MalformedError):
            SshKey(blob)
    key = SshKey.of(private_key("alice"))
    with pytest.raises(MalformedError):
        SshKey.parse("ecdsa-sha2-nistp256 " + encode_base64(key.blob))


@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_signature_or_malformed(data: bytes) -> None:
    """Whatever the bytes, they are refused, or come back the same."""
    for candidate in (data, b"SSHSIG\x00\x00\x00\x01" + data):
        try:
            decoded = SshSignature.decode(candidate)
        except MalformedError:
            continue
        assert decoded.encode() == candidate


@given(
    algorithm=st.sampled_from(ALL),
    at=st.integers(0, 2000),
    bit=st.integers(0, 7),
)
def test_a_changed_signature_never_verifies(algorithm: str, at: int, bit: int) -> None:
    """Any flipped bit makes it malformed, false, or another key's."""
    alice = Signatory.named("alice", algorithm)
    data = bytearray(alice.sign(TEXT, NAMESPACE).encode())
    data[at % len(data)] ^= 1 << bit
    try:
        changed = SshSignature.decode(bytes(data))
        changed.verify(TEXT.encode(), NAMESPACE)
    except (MalformedError, SignatureError):
        return
    # The flags of a token have bits that nobody asks for, but they are signed along.
    raise AssertionError("a changed signature was taken")


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_key_or_malformed(data: bytes) -> None:
    """No bytes make the parser do anything else."""
    for candidate in (data, string(b"ssh-ed25519") + data):
        try:
            key = SshKey(candidate)
        except MalformedError:
            continue
        assert key.blob == candidate


def test_a_private_key_signs_as_its_public_half_says() -> None:
    """`sshsig.sign` names the key that it signs with."""
    for algorithm in (ED25519, ECDSA_P256):
        private = private_key("bob", algorithm)
        signature = sshsig.sign(private, b"text", NAMESPACE)
        signature.verify(b"text", NAMESPACE)
        assert ssh_keys.SshKey.of(private) == signature.key
