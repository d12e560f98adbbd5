"""Signs with the keys that board members have: files, the SSH agent, security tokens."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from node.errors import ConfigurationError
from node.files import read_private
from registry import sshsig
from registry.errors import MalformedError
from registry.ssh_keys import PrivateKey, SshKey
from registry.sshsig import SshSignature

# The person has to find the token, and touch it.
TOUCH_SECONDS: Final = 300
_OPENSSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"

AskPassphrase = Callable[[], str]


def sign_with_file(
    path: Path, text: str, namespace: str, ask_passphrase: AskPassphrase
) -> SshSignature:
    """By a private key in a file: PKCS#8, encrypted or not, or OpenSSH. ConfigurationError."""
    return sshsig.sign(load_private_key(path, ask_passphrase), text.encode(), namespace)


def load_private_key(path: Path, ask_passphrase: AskPassphrase) -> PrivateKey:
    """The private key in a file; ConfigurationError if it is none, or the passphrase is wrong."""
    data = read_private(path)
    load = load_ssh_private_key if data.startswith(_OPENSSH) else load_pem_private_key
    try:
        try:
            key = load(data, None)
        except (TypeError, ValueError) as error:
            # How the library says that there is a passphrase depends on the format.
            if "assword" not in str(error):
                raise
            key = load(data, ask_passphrase().encode())
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(f"{path}: sign with --ssh {path} instead ({error})") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} is no key that can be used: {error}") from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    raise ConfigurationError(f"{path}: use an Ed25519 key, or ECDSA on P-256")


def sign_with_ssh(public: Path, text: str, namespace: str) -> SshSignature:
    """By the SSH agent or a security token: `ssh-keygen -Y sign`. ConfigurationError."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(public)]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "text"
        file.write_text(text, encoding="utf-8")
        try:
            # Its words are fixed, and no shell reads them.
            subprocess.run([*command, str(file)], check=True, timeout=TOUCH_SECONDS)  # noqa: S603
            armor = file.with_name("text.sig").read_text(encoding="ascii")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ConfigurationError(f"ssh-keygen did not sign with {public}: {error}") from error
    return read_signature(armor, "ssh-keygen")


def read_signature(armor: str, source: str) -> SshSignature:
    """A signature that was made elsewhere; ConfigurationError if it is none."""
    try:
        return SshSignature.from_armor(armor)
    except MalformedError as error:
        raise ConfigurationError(f"{source} gave no usable signature: {error}") from error


def read_public_key(path: Path) -> SshKey:
    """The key in a .pub file; ConfigurationError if it is none that a board may use."""
    try:
        return SshKey.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, MalformedError) as error:
        raise ConfigurationError(f"{path} is no public key that can be used: {error}") from error
