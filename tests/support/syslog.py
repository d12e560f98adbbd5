"""A syslog that keeps what programs say: in a file, as rsyslog writes it."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, Self

MAX_MESSAGE_BYTES: Final = 65536
_PRIORITY: Final = re.compile(r"^<\d+>")


class Syslog:
    """Listens at /dev/log and appends to `path`; a context manager."""

    def __init__(self, path: Path, host: str, device: Path = Path("/dev/log")) -> None:
        self.path = path
        self._host = host
        device.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(device))
        device.chmod(0o666)
        path.touch()
        self._thread = Thread(target=self._serve, daemon=True)

    def text(self) -> str:
        """All that was logged so far."""
        return self.path.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data = self._socket.recv(MAX_MESSAGE_BYTES)
            except OSError:
                return
            message = _PRIORITY.sub("", data.decode("utf-8", "replace")).rstrip("\0\n")
            # "Nov 25 02:04:23 program[pid]: text": the host's name goes in after the time.
            stamp, rest = message[:15], message[16:]
            if not re.fullmatch(r"\w{3} [ \d]\d \d\d:\d\d:\d\d", stamp):
                stamp, rest = time.strftime("%b %e %H:%M:%S"), message
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {self._host} {rest}\n")
