"""Keys of board members: files of every kind, and whatever ssh-keygen signs with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from node.errors import ConfigurationError
from registry.ssh_keys import ECDSA_P256, ED25519, SshKey
from smtpnic.board_keys import (
    AskPassphrase,
    load_private_key,
    read_public_key,
    sign_with_file,
    sign_with_ssh,
)
from tests.support.boards import private_key

TEXT, NAMESPACE, PASSPHRASE = "smtpnic-root 1\n", "smtpnic-root", "correct horse"


def nobody() -> str:
    """Is not asked."""
    raise AssertionError("a passphrase was asked for")


def written(path: Path, data: bytes) -> Path:
    """A private file."""
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("algorithm", [ED25519, ECDSA_P256])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_every_form_signs(tmp_path: Path, algorithm: str, form: PrivateFormat) -> None:
    """PKCS#8, encrypted or not, and plain OpenSSH; a passphrase is asked for where there is one."""
    private = private_key("alice", algorithm)

    def file(name: str, encryption: KeySerializationEncryption) -> Path:
        return written(tmp_path / name, private.private_bytes(Encoding.PEM, form, encryption))

    plain = file("plain", NoEncryption())
    files: list[tuple[Path, AskPassphrase]] = [(plain, nobody)]
    if form is PrivateFormat.PKCS8:
        secret = file("secret", BestAvailableEncryption(PASSPHRASE.encode()))
        files.append((secret, lambda: PASSPHRASE))
        with pytest.raises(ConfigurationError):
            load_private_key(secret, lambda: "wrong")
    for path, ask in files:
        signature = sign_with_file(path, TEXT, NAMESPACE, ask)
        signature.verify(TEXT.encode(), NAMESPACE)
        assert SshKey.of(private) == signature.key


def test_an_encrypted_openssh_key_is_left_to_openssh(tmp_path: Path) -> None:
    """Its passphrase is ssh-keygen's to ask for; the person hears how."""
    key = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSPHRASE, "-f", str(key)], check=True
    )
    with pytest.raises(ConfigurationError, match="--ssh"):
        load_private_key(key, lambda: PASSPHRASE)


def test_other_keys_are_refused(tmp_path: Path) -> None:
    """RSA, and what is no key at all."""
    rsa = generate_private_key(65537, 2048)
    pem = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for number, data in enumerate((pem, b"no key")):
        with pytest.raises(ConfigurationError):
            load_private_key(written(tmp_path / str(number), data), nobody)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An SSH agent that holds a key whose file is gone; the public half's path."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    socket, key = tmp_path / "agent", tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    said = subprocess.run(
        ["ssh-agent", "-s", "-a", str(socket)], capture_output=True, text=True, check=True
    ).stdout
    pid = int(said.split("SSH_AGENT_PID=")[1].split(";")[0])
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    try:
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        key.unlink()
        yield tmp_path / "key.pub"
    finally:
        os.kill(pid, signal.SIGTERM)


def test_the_agent_signs(agent: Path) -> None:
    """With the public half alone: the private one is in the agent, or in a token behind it."""
    signature = sign_with_ssh(agent, TEXT, NAMESPACE)
    signature.verify(TEXT.encode(), NAMESPACE)
    assert read_public_key(agent) == signature.key


def test_a_key_that_nobody_has_does_not_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh-keygen refuses, and the person hears which key it was."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    public = tmp_path / "key.pub"
    public.write_text(SshKey.of(private_key("alice")).text())
    with pytest.raises(ConfigurationError, match=r"key\.pub"):
        sign_with_ssh(public, TEXT, NAMESPACE)
