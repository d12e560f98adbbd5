"""smtpnic-policyd check and ask: what somebody who sets it up looks at."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from lab.process import LabProcess, program
from tests.support.wait import wait_until


def policyd(directory: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The program with these settings."""
    settings = directory / "policyd.toml"
    settings.write_text(text, encoding="utf-8")
    return subprocess.run(
        [program("smtpnic-policyd"), *arguments, "--config", str(settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@contextmanager
def running(directory: Path, text: str) -> Iterator[None]:
    """The service with these settings; it asks a resolver that there is not."""
    settings = directory / "running.toml"
    own = 'guard_seconds = 0\nresolvers = ["127.255.0.99"]\ntimeout_seconds = 0.2\n'
    settings.write_text(own + text, encoding="utf-8")
    command = [program("smtpnic-policyd"), "run", "--config", str(settings)]
    process = LabProcess("policyd", command, directory / "policyd.log")
    process.start()
    try:
        wait_until(lambda: "policyd.ready" in process.tail(), seconds=30, what="policyd ready")
        yield
    finally:
        process.stop()


def test_check_shows_what_the_settings_come_to(tmp_path: Path) -> None:
    """With what follows from the zone."""
    text = 'mode = "enforce"\nzone = "registry.example"\nown_networks = ["192.0.2.0/24"]\n'
    done = policyd(tmp_path, "check", text=text)
    assert (0, "") == (done.returncode, done.stderr)
    assert {
        "mode: enforce",
        "on_failure: accept",
        "zone: registry.example",
        "list_zone: list.registry.example",
        "register_at: https://registry.example/",
        "own_networks: 192.0.2.0/24",
        "listen: 127.0.0.1:10040",
    } == set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("text", "said"),
    [("mode = 1\n", "policyd.toml: mode: "), ("zome = 1\n", "zome: no such"), ("mode", "TOML")],
)
def test_check_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    """And where; that is for a person to change."""
    done = policyd(tmp_path, "check", text=text)
    assert (2, True) == (done.returncode, said in done.stderr), done.stderr


def test_the_environment_is_checked_without_a_file_too() -> None:
    """What would be lost there is said, as where there is a file."""
    for variable, said in (("MODE", "'advise' or 'enforce'"), ("MOOD", "no such setting")):
        done = subprocess.run(
            [program("smtpnic-policyd"), "check"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {f"SMTPNIC_POLICYD_{variable}": "good"},
        )
        assert (2, True) == (done.returncode, said in done.stderr), done.stderr


@pytest.mark.parametrize("is_unix", [False, True])
def test_ask_shows_what_postfix_would_be_told(is_unix: bool, tmp_path: Path) -> None:
    """Over TCP or a UNIX socket, for any client, and whom its message is for."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listener = f"unix:{tmp_path}/policy" if is_unix else f"127.0.0.1:{port}"
    text = f'listen = ["{listener}"]\nmode = "enforce"\non_failure = "tempfail"\n'
    with running(tmp_path, text):
        # The first has to be looked up, and nobody answers; the others need not.
        for arguments, expected in (
            (["192.0.2.77"], "451 4.4.3 the registry of mail servers cannot be asked about "),
            (["192.0.2.77", "--recipient", "Postmaster@mx.example"], "DUNNO\n"),
            (["::1"], "DUNNO\n"),
        ):
            done = policyd(tmp_path, "ask", *arguments, text=text)
            assert (0, True) == (done.returncode, done.stdout.startswith(expected)), done


def test_ask_says_why_there_is_no_answer(tmp_path: Path) -> None:
    """Nobody there, somebody else, nothing to ask; or the address is none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"500 what?\r\n")

        thread = Thread(target=serve)
        thread.start()
        text = f'listen = ["127.0.0.1:{port}"]\n'
        other = policyd(tmp_path, "ask", "192.0.2.77", text=text)
        thread.join(10)
    nobody = policyd(tmp_path, "ask", "192.0.2.77", text=text)
    nothing = policyd(tmp_path, "ask", "192.0.2.77", text='listen=[]\nfilter_listen=["[::1]:1"]\n')
    no_address = policyd(tmp_path, "ask", "mx.example", text=text)
    for done, code, said in (
        (other, 4, "no policy service"),
        (nobody, 4, "Connection refused"),
        (nothing, 2, "listen is empty"),
        (no_address, 2, "not an IP address"),
    ):
        assert (code, True) == (done.returncode, said in done.stderr), done.stderr
