"""Which listener offers which service, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.admission import by_certificate
from node.gate import Gate
from node.identity_files import IdentityFiles
from node.listener import Capacity, Listener, Service
from node.logging import get_logger
from node.tls import renewed_server_credentials
from primary.settings import NodesSettings, PrimarySettings, PublicSettings

# One person and a script or two; a bulk import may come this way too.
ADMINISTRATION: Final = Capacity(connections=16, calls=64)
# Its streams of the log, its reads of snapshots and tiles, and as many that broke off unseen.
CALLS_PER_NODE: Final = 32

_log = get_logger("listening")


def open_listeners(
    settings: PrimarySettings,
    *,
    public: Sequence[Service],
    nodes: Sequence[Service],
    local: Sequence[Service],
    files: IdentityFiles,
    gate: Gate,
) -> list[Listener]:
    """All three, bound and not yet answering: anyone, known nodes, this machine's owner.

    Nodes come through the `gate`. ConfigurationError: an address is taken.
    """
    anyone = Listener(public, _public_capacity(settings.public))
    at = anyone.bind(settings.public.listen, renewed_server_credentials(files))
    _log.info("listening", listener="public", endpoint=str(at))

    known = Listener(nodes, _nodes_capacity(settings.nodes), by_certificate, gate)
    at = known.bind(settings.nodes.listen, renewed_server_credentials(files, mutual=True))
    _log.info("listening", listener="nodes", endpoint=str(at))

    # Whoever may open the socket may register without TLS: it never leaves the machine.
    owner = Listener(local, ADMINISTRATION)
    owner.bind_socket(settings.administration.socket)
    _log.info("listening", listener="administration", endpoint=str(settings.administration.socket))
    return [anyone, known, owner]


def _public_capacity(settings: PublicSettings) -> Capacity:
    return Capacity(
        settings.connections,
        settings.calls,
        settings.calls_per_client,
        settings.connections_per_client,
        settings.idle_seconds,
        settings.connection_seconds,
    )


def _nodes_capacity(settings: NodesSettings) -> Capacity:
    """Streams of the log have no end, so neither have their connections."""
    return Capacity(
        settings.connections, settings.calls, CALLS_PER_NODE, settings.connections_per_client
    )
