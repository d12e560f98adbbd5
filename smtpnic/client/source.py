"""A way to a server from an address of one's own choice, where a machine has several."""

from __future__ import annotations

import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from node.endpoint import Endpoint

CONNECT_SECONDS: Final = 10.0
CHUNK_BYTES: Final = 65_536


class SourceTunnel:
    """Passes bytes on between a UNIX socket, which gRPC can connect to, and the server.

    gRPC cannot choose where a connection comes from. TLS goes through: the tunnel reads nothing.
    """

    def __init__(self, endpoint: Endpoint, source: str) -> None:
        self._endpoint = endpoint
        self._source = source
        self._directory = tempfile.TemporaryDirectory(prefix="smtpnic-")
        self._path = Path(self._directory.name) / "way"
        self._listener = socket.socket(socket.AF_UNIX)
        # Why the server could not be reached from there; empty while it could.
        self.failure = ""

    @property
    def target(self) -> str:
        """What gRPC connects to."""
        return f"unix:{self._path}"

    def __enter__(self) -> Self:
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        where = (self._endpoint.host, self._endpoint.port)
        try:
            far = socket.create_connection(where, CONNECT_SECONDS, (self._source, 0))
        except OSError as error:
            self.failure = error.strerror or str(error)
            near.close()
            return
        far.settimeout(None)
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(CHUNK_BYTES):
            other.sendall(data)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
