"""The log over HTTP, for other people's tools: C2SP tlog-tiles, read only.

/checkpoint, /tile/<L>/<N>[.p/<W>] and /tile/entries/<N>[.p/<W>]. What is served is signed, or
leads to what is signed, so it may go through any cache and needs no TLS.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Protocol

from node.endpoint import Endpoint
from node.errors import StorageError
from node.http_server import HttpLimits, HttpServer, Reply
from node.logging import get_logger
from registry.errors import MalformedError, RegistryError
from registry.tiles import TileId, parse_bundle_path, parse_path

OCTETS: Final = "application/octet-stream"
# A tile of one width never changes; a year is what RFC 9111's predecessors called for ever.
FOR_EVER: Final = "public, max-age=31536000, immutable"
# The largest bundle, 2 MiB, on a line of a megabit a second.
CONNECTION_SECONDS: Final = 60.0

_NOT_HERE: Final = Reply(HTTPStatus.NOT_FOUND, b"not here\n")
_LATER: Final = Reply(HTTPStatus.SERVICE_UNAVAILABLE, b"not now; try again\n")

_log = get_logger("log_http")


class PublishedLog(Protocol):
    """What a node holds of the log; any thread may ask. StorageError: not now."""

    def checkpoint(self) -> bytes:
        """The note of the newest checkpoint that it publishes; empty while there is none."""

    def tile(self, tile: TileId) -> bytes | None:
        """The tile's hashes; None if they are not here."""

    def bundle(self, index: int, width: int) -> bytes | None:
        """The entry bundle beside level-0 tile `index`; None if it is not here."""


class LogServer(HttpServer):
    """Serves one log."""

    def __init__(
        self, endpoint: Endpoint, log: PublishedLog, *, connections: int, per_client: int
    ) -> None:
        """ConfigurationError where it cannot listen."""
        self._log = log
        limits = HttpLimits(connections, per_client, CONNECTION_SECONDS, keeps_alive=True)
        super().__init__(endpoint, limits, self._answer)

    def _answer(self, path: str, accept: str) -> Reply:  # noqa: ARG002
        try:
            if path == "/checkpoint":
                note = self._log.checkpoint()
                return Reply(HTTPStatus.OK, note) if note else _NOT_HERE
            data = self._read(path.removeprefix("/"))
        except MalformedError:
            return _NOT_HERE
        except (StorageError, RegistryError, OSError) as error:
            _log.warning("log_http.failed", path=path, reason=str(error))
            return _LATER
        return _NOT_HERE if data is None else Reply(HTTPStatus.OK, data, OCTETS, FOR_EVER)

    def _read(self, path: str) -> bytes | None:
        if path.startswith("tile/entries/"):
            return self._log.bundle(*parse_bundle_path(path))
        return self._log.tile(parse_path(path))
