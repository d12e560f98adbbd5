"""A board founds a registry: each member signs offline, with the kind of key that they have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from lab.cluster import Cluster
from lab.process import LabError, program, run
from node.exits import ExitCode
from registry.root import NAMESPACE
from tests.support.boards import private_key

PASSPHRASE = "correct horse"

pytestmark = pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="needs OpenSSH")


class Member:
    """A member's directory; what runs there knows no server."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.public = directory / f"{name}.pub"
        self.env = {"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(directory / "none")}

    def board(self, *words: str, code: int = 0, said: str = "") -> str:
        """`smtpnic board WORDS`, with no terminal; what it printed."""
        done = subprocess.run(
            [program("smtpnic"), "board", *words],
            env=self.env,
            input=said,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=60,
            check=False,
        )
        assert (code, done.stderr) == (done.returncode, done.stderr)
        return done.stdout


def alice_of(directory: Path) -> Member:
    """With a file that a passphrase encrypts."""
    alice, private = Member(directory, "alice"), private_key("alice")
    key = directory / "alice.pem"
    key.touch(mode=0o600)
    encryption = BestAvailableEncryption(PASSPHRASE.encode())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    alice.public.write_bytes(public + b"\n")
    return alice


def with_ssh_key(directory: Path, name: str) -> Member:
    """With a key that ssh-keygen made."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
    subprocess.run(command, check=True)
    return Member(directory, name)


def signed_elsewhere(member: Member, text: str, file: Path, namespace: str = NAMESPACE) -> str:
    """The option for a signature that OpenSSH alone has made."""
    file.write_text(text)
    key = str(member.directory / member.name)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", key, str(file)]
    subprocess.run(command, check=True)
    return f"--signature={file}.sig"


@contextmanager
def agent(member: Member) -> Iterator[None]:
    """Holds the member's key, whose file is gone."""
    socket, key = member.directory / "agent", member.directory / member.name
    command = ["ssh-agent", "-s", "-a", str(socket)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    member.env["SSH_AUTH_SOCK"] = str(socket)
    try:
        env = os.environ | member.env
        subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True)
        key.unlink()
        yield
    finally:
        os.kill(int(said.split("SSH_AGENT_PID=")[1].split(";")[0]), signal.SIGTERM)


def test_three_members_found_a_registry(tmp_path: Path) -> None:
    """An encrypted file, an agent, and `ssh-keygen -Y sign` on a machine without this program; the
    primary starts once enough have signed, and not before. One who signs twice counts once."""
    alice = alice_of(tmp_path)
    bob, carol = (with_ssh_key(tmp_path, name) for name in ("bob", "carol"))
    members = [f"--member={each.name}={each.public}" for each in (alice, bob, carol)]
    file = tmp_path / "board.txt"
    twice = f"--member=again={alice.public}"
    alice.board("init", str(file), "--threshold=3", *members, twice, code=ExitCode.REFUSED)
    alice.board("init", str(file), "--threshold=3", *members)
    with Cluster(tmp_path / "c", 0) as cluster:
        cluster.root.mkdir()
        run([*cluster.init_command(), f"--board={file}"])
        root = cluster.primary_dir / "root.note"
        for _ in range(2):
            key = f"--key={tmp_path / 'alice.pem'}"
            alice.board("sign", str(root), key, said=f"{PASSPHRASE}\n")
        with agent(bob):
            bob.board("sign", str(root), f"--ssh={bob.public}")
        bob.board("verify", str(root), code=1)
        with pytest.raises(LabError):
            cluster.start_primary()

        text = json.loads(carol.board("show", str(root), "--json"))["text"]
        carol.board("sign", str(root), signed_elsewhere(carol, text, tmp_path / "text"))
        carol.board("verify", str(root))
        assert all(each.name in carol.board("show", str(root)) for each in (alice, bob, carol))
        cluster.start_primary()


def test_a_signature_for_something_else_is_no_signature(tmp_path: Path) -> None:
    """Of another text, by a stranger, or for another purpose: the file stays as it is."""
    carol, dave = (with_ssh_key(tmp_path, name) for name in ("carol", "dave"))
    file = tmp_path / "board.txt"
    carol.board("init", str(file), "--threshold=1", f"--member=carol={carol.public}")
    cluster = Cluster(tmp_path / "c", 0)
    cluster.root.mkdir()
    run([*cluster.init_command(), f"--board={file}"])
    root = cluster.primary_dir / "root.note"
    unsigned = root.read_bytes()
    # Before the first signature the file is the text, and nothing else.
    text = unsigned.decode()
    cases = (
        (carol, NAMESPACE, f"{text}\n", ExitCode.UNVERIFIED),
        (dave, NAMESPACE, text, ExitCode.REFUSED),
        (carol, "file", text, ExitCode.UNVERIFIED),
        (carol, NAMESPACE, text, ExitCode.OK),
    )
    for number, (signer, namespace, signed, code) in enumerate(cases):
        assert unsigned == root.read_bytes()
        option = signed_elsewhere(signer, signed, tmp_path / f"text-{number}", namespace)
        carol.board("sign", str(root), option, code=code)
    carol.board("verify", str(root))
