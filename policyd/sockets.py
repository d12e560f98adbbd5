"""Where the service listens: TCP, UNIX sockets, or what systemd opened (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from policyd.settings import UNIX_PREFIX

FIRST_DESCRIPTOR: Final = 3
BACKLOG: Final = 512
# Names of FileDescriptorName= in the socket unit.
POLICY_NAME: Final = "policy"
FILTER_NAME: Final = "filter"


def open_sockets(listeners: Sequence[str]) -> list[socket.socket]:
    """A listening socket for each; ConfigurationError says which one cannot be had."""
    return [_open(listener) for listener in listeners]


def inherited_sockets(environment: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """The sockets that systemd passed to this process, by name; those without one are policy's."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for number in range(count):
        name = FILTER_NAME if names[number : number + 1] == [FILTER_NAME] else POLICY_NAME
        found.setdefault(name, []).append(socket.socket(fileno=FIRST_DESCRIPTOR + number))
    return found


def _open(listener: str) -> socket.socket:
    try:
        if listener.startswith(UNIX_PREFIX):
            return _open_unix(Path(listener.removeprefix(UNIX_PREFIX)))
        endpoint = Endpoint.parse(listener)
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        return socket.create_server(
            (endpoint.host, endpoint.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {listener}: {error.strerror or error}"
        ) from error


def _open_unix(path: Path) -> socket.socket:
    # What a crash left behind; a socket that somebody serves is not taken away.
    if path.is_socket() and not _is_served(path):
        path.unlink()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    # Postfix's smtpd is another user than the service; the directory says who gets here.
    path.chmod(0o666)
    server.listen(BACKLOG)
    return server


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
