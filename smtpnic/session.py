"""What every command works with: its settings, its output, and the servers it may ask."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from smtpnic.errors import UnreachableError
from smtpnic.holder_key import HolderKey, find_key_file
from smtpnic.known_roots import KnownRoots
from smtpnic.output import Output
from smtpnic.settings import Settings, config_directory, load_settings

if TYPE_CHECKING:
    from smtpnic.client import BoardClient, Connection, Mirror, Primary, Registering

# A restarting primary is back within seconds; the timeout ends it sooner.
MAX_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the program. Settings are read when a command asks for them."""

    output: Output
    options: Mapping[str, object]
    config_file: Path | None

    def settings(self, **options: object) -> Settings:
        """The settings under the global options and these of the command."""
        return load_settings({**self.options, **options}, self.config_file)

    def primary(self, settings: Settings, attempts: int = MAX_ATTEMPTS) -> Primary:
        """The primary, to be used in a `with`; an attempt that finds it away may be repeated."""
        # gRPC takes a fifth of a second to load; --help and lookup do without.
        from smtpnic.client import Primary  # noqa: PLC0415

        return Primary(_connection(settings, settings.require_primary(), attempts))

    def registering(self, settings: Settings) -> Registering:
        """The primary's service for who registers, to be used in a `with`."""
        from smtpnic.client import Registering  # noqa: PLC0415

        return Registering(_connection(settings, settings.require_primary(), MAX_ATTEMPTS))

    def prove_address(self, settings: Settings, source: str, token: str) -> str:
        """Shows the registry that a connection can come from `source`; empty: any. What it saw."""
        from smtpnic.client import Registering, prove_from  # noqa: PLC0415

        connection = _connection(settings, settings.require_primary(), MAX_ATTEMPTS)
        if source:
            return prove_from(connection, source, token)
        with Registering(connection) as registering:
            return registering.prove_address(token)

    def mirror(self, settings: Settings, endpoint: Endpoint) -> Mirror:
        """A mirror, to be used in a `with`."""
        from smtpnic.client import Mirror  # noqa: PLC0415

        return Mirror(_connection(settings, endpoint, attempts=1))

    def board(self, settings: Settings, attempts: int = MAX_ATTEMPTS) -> BoardClient:
        """The primary's board service, to be used in a `with`."""
        from smtpnic.client import BoardClient  # noqa: PLC0415

        return BoardClient(_connection(settings, settings.require_primary(), attempts))

    def keys(self, settings: Settings) -> KnownRoots | None:
        """What checks the log's signatures; None if no root was told."""
        chain = settings.pinned()
        return (
            None if chain is None else KnownRoots(chain, lambda after: self._roots(settings, after))
        )

    def require_keys(self, settings: Settings) -> KnownRoots:
        """What checks the log's signatures; ConfigurationError says how to give a root."""
        keys = self.keys(settings)
        if keys is None:
            raise ConfigurationError(
                "which root? Give --root FILE, set SMTPNIC_ROOT, or write "
                f'root = "FILE" in {config_directory() / "config.toml"}: the board publishes it'
            )
        return keys

    def _roots(self, settings: Settings, after: int) -> list[bytes]:
        """Of the first mirror, or the primary, that answers."""
        for endpoint in settings.mirrors:
            with suppress(UnreachableError), self.mirror(settings, endpoint) as mirror:
                return mirror.roots(after)
        if settings.primary is None:
            return []
        with self.board(settings, attempts=1) as board:
            return board.roots(after)

    def holder_key(self, settings: Settings) -> HolderKey:
        """The key of the holder that --holder, or its absence, means."""
        return HolderKey.load(find_key_file(settings.holder))


def _connection(settings: Settings, endpoint: Endpoint, attempts: int) -> Connection:
    from node.tls import read_certificates  # noqa: PLC0415
    from smtpnic.client import Connection  # noqa: PLC0415

    if endpoint.port == 0:
        raise ConfigurationError(f"{endpoint}: no server listens on port 0")
    authority = None if settings.ca is None else read_certificates(settings.ca)
    return Connection(endpoint, authority, settings.server_name, settings.timeout, attempts)
