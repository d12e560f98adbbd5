"""Which listener offers which service, and to whom."""

from __future__ import annotations

from typing import Final

from node.logging import get_logger
from node.tls import Identity, read_certificates, server_credentials
from primary.server import Capacity, Listener, Service
from primary.settings import PrimarySettings

# One person and a script or two; a bulk import may come this way too.
ADMINISTRATION: Final = Capacity(connections=16, calls=64)

_log = get_logger("listening")


def open_listeners(
    settings: PrimarySettings, registry: Service, replication: Service, administration: Service
) -> list[Listener]:
    """All three, bound and not yet answering: anyone, enrolled nodes, this machine's owner.

    ConfigurationError: an address is taken, or a certificate or key is not usable.
    """
    identity = Identity.load(settings.tls.certificate, settings.tls.key)
    public = Listener([registry], Capacity(settings.public.connections, settings.public.calls))
    at = public.bind(settings.public.listen, server_credentials(identity))
    _log.info("listening", listener="public", endpoint=str(at))

    authority = read_certificates(settings.tls.ca)
    nodes = Listener([replication], Capacity(settings.nodes.connections, settings.nodes.calls))
    at = nodes.bind(settings.nodes.listen, server_credentials(identity, authority))
    _log.info("listening", listener="nodes", endpoint=str(at))

    # Whoever may open the socket may register without TLS: it never leaves the machine.
    local = Listener([administration, registry], ADMINISTRATION)
    local.bind_socket(settings.administration.socket)
    _log.info("listening", listener="administration", endpoint=str(settings.administration.socket))
    return [public, nodes, local]
