"""Where the policy service listens: TCP, a UNIX socket, or what systemd opened."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lab.process import LabProcess, program
from node.errors import ConfigurationError
from policyd.sockets import POLICY_NAME, inherited_sockets, open_sockets
from tests.support.wait import wait_until

RESOLVERS = '["127.255.0.99"]'
REQUEST = b"request=smtpd_access_policy\nclient_address=127.0.0.1\n\n"


def answer(address: str | tuple[str, int]) -> bytes:
    """What a policy service there answers about this machine."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(address)
        connection.sendall(REQUEST)
        return connection.recv(1024)


@contextmanager
def policyd(directory: Path, command: list[str], settings: Mapping[str, str]) -> Iterator[None]:
    """The service, from the line that says that it is ready, to its orderly end."""
    own = {"SMTPNIC_POLICYD_RESOLVERS": RESOLVERS, "SMTPNIC_POLICYD_GUARD_SECONDS": "0"}
    process = LabProcess("policyd", command, directory / "policyd.log", {**own, **settings})
    process.start()
    try:
        wait_until(lambda: "policyd.ready" in process.tail(), seconds=30, what="policyd ready")
        yield
        assert 0 == process.stop()
    finally:
        process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_unix_socket(tmp_path: Path) -> None:
    """Open to Postfix, which is another user; what a crash left behind is taken away."""
    path = tmp_path / "policy"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    command = [program("smtpnic-policyd"), "run"]
    with policyd(tmp_path, command, {"SMTPNIC_POLICYD_LISTEN": f'["unix:{path}"]'}):
        assert b"action=DUNNO\n\n" == answer(str(path))
        assert 0o666 == path.stat().st_mode & 0o777


def test_sockets_of_systemd(tmp_path: Path) -> None:
    """The first client starts it; the socket that was passed is served, and none opened beside."""
    port = free_port()
    # systemd-socket-activate(1) passes no other variables on.
    passed = [
        "-E",
        f"SMTPNIC_POLICYD_RESOLVERS={RESOLVERS}",
        "-E",
        "SMTPNIC_POLICYD_GUARD_SECONDS=0",
    ]
    listen = ["--listen", f"127.0.0.1:{port}", "--fdname", POLICY_NAME]
    service = [program("smtpnic-policyd"), "run"]
    command = ["systemd-socket-activate", *listen, *passed, *service]
    process = LabProcess("policyd", command, tmp_path / "policyd.log", {})
    process.start()
    try:
        wait_until(lambda: "Listening on" in process.tail(), seconds=30, what="systemd listening")
        assert b"action=DUNNO\n\n" == answer(("127.0.0.1", port))
        assert "policyd.ready" in process.tail()
        assert b"action=DUNNO\n\n" == answer(("127.0.0.1", port))
        assert 0 == process.stop()
    finally:
        process.kill()


def get(port: int, path: str) -> tuple[int, str]:
    """A status, and what was served."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_metrics_and_health(tmp_path: Path) -> None:
    """What was decided is counted; while the list is not to be trusted, it is not ready."""
    port, http = free_port(), free_port()
    settings = {
        "SMTPNIC_POLICYD_LISTEN": f'["127.0.0.1:{port}"]',
        "SMTPNIC_POLICYD_HTTP": f"127.0.0.1:{http}",
        "SMTPNIC_POLICYD_GUARD_SECONDS": "0.1",
        "SMTPNIC_POLICYD_TIMEOUT_SECONDS": "0.1",
    }

    def is_stopped() -> bool:
        return "smtpnic_policyd_trusted 0.0" in get(http, "/metrics")[1]

    with policyd(tmp_path, [program("smtpnic-policyd"), "run"], settings):
        assert b"action=DUNNO\n\n" == answer(("127.0.0.1", port))
        said = get(http, "/metrics")[1]
        assert 'smtpnic_policyd_outcomes_total{outcome="accept"} 1.0' in said
        assert 200 == get(http, "/livez")[0]
        # Nobody answers at its resolver.
        wait_until(is_stopped, seconds=30, what="the guard")
        status, reason = get(http, "/readyz")
    assert (503, True) == (status, "2.0.0.127.list.smtpnic.org." in reason)


def test_variables_of_another_process_are_not_ours() -> None:
    """A child inherits them, and no socket (sd_listen_fds(3))."""
    assert {} == inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert {} == inherited_sockets({})


def test_a_socket_that_somebody_serves_is_not_taken_away(tmp_path: Path) -> None:
    """A second service does not start."""
    path = tmp_path / "policy"
    (server,) = open_sockets([f"unix:{path}"])
    with server, pytest.raises(ConfigurationError, match="cannot listen"):
        open_sockets([f"unix:{path}"])


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    """With its place, and what belongs there; exit code 2."""
    file = tmp_path / "policyd.toml"
    file.write_text('listen = ["unix:relative"]\n')
    done = subprocess.run(
        [program("smtpnic-policyd"), "run", "-c", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 2 == done.returncode
    assert "listen" in done.stderr
    assert "unix:relative" in done.stderr
