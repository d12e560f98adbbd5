"""Enrols a node: a certificate of its own, and settings with which it can start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.files import read_private, write_atomic
from node.tls import Identity, read_certificates
from primary.pki import Authority, Names, names_of
from primary.scaffold import PUBLIC_MODE, Table, Value, make_empty, toml
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.store import Store

SETTINGS_NAME: Final = "secondary.toml"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a secondary listens: its services, and the first of three for its metrics."""

    dns: int
    whois: int
    mirror: int
    log: int
    http: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node to be: its name, its certificate's names, where it listens and whom it follows.

    `http` is the address that metrics are shown on; `etcd` are the endpoints of its etcd
    cluster, none of them if it starts one of its own.
    """

    name: str
    names: Names
    listen: str
    http: str
    ports: Ports
    upstream: Endpoint
    zone: str
    etcd: Sequence[str]


def enroll(settings: PrimarySettings, enrolment: Enrolment, directory: Path) -> Path:
    """Writes the node's directory; the path of its settings.

    ConfigurationError: the directory holds something, or the authority's files are not usable;
    Problem: the name is none.
    """
    authority = load_authority(settings)
    identity = authority.issue_node(enrolment.name, enrolment.names, datetime.now(UTC))
    make_empty(directory)
    write_atomic(directory / "ca.pem", authority.identity.certificate, PUBLIC_MODE)
    write_atomic(directory / "node.pem", identity.certificate, PUBLIC_MODE)
    write_atomic(directory / "node.key", identity.key)
    write_atomic(directory / "root.note", newest_root(settings), PUBLIC_MODE)
    path = directory / SETTINGS_NAME
    write_atomic(path, toml(_settings(settings, enrolment)), PUBLIC_MODE)
    return path


def newest_root(settings: PrimarySettings) -> bytes:
    """The root that holds, as it was signed; ConfigurationError if the log has no good one."""
    signer = load_keys(settings).log
    store = Store(settings.store_url)
    try:
        signer.restore(store.reader)
    finally:
        store.close()
    return signer.chain.notes[-1]


def renew(settings: PrimarySettings) -> None:
    """A new certificate for the primary's listeners, with the names of the old one."""
    names = names_of(read_certificates(settings.tls.certificate))
    server = load_authority(settings).issue_server(names, datetime.now(UTC))
    # Between the two a start is refused, and repeating this mends it.
    write_atomic(settings.tls.key, server.key)
    write_atomic(settings.tls.certificate, server.certificate, PUBLIC_MODE)


def load_authority(settings: PrimarySettings) -> Authority:
    """The authority that signs nodes; ConfigurationError when its files are not usable."""
    return Authority.load(
        Identity(read_certificates(settings.tls.ca), read_private(settings.authority.key))
    )


def _settings(settings: PrimarySettings, node: Enrolment) -> list[Table]:
    ports = node.ports

    def at(port: int) -> str:
        return str(Endpoint(node.listen, port))

    def metrics_at(offset: int) -> tuple[str, Value]:
        return "http", str(Endpoint(node.http, ports.http + offset))

    return [
        Table(
            "",
            (
                f"A secondary of {settings.origin}; docs/operations.md explains every setting.",
                "Relative paths count from the directory of this file.",
            ),
            (
                ("name", node.name),
                ("upstream", str(node.upstream)),
            ),
        ),
        Table("follower", (), (metrics_at(0),)),
        Table(
            "dns",
            (),
            (("listen", at(ports.dns)), metrics_at(1), ("zone", node.zone)),
        ),
        Table("whois", (), (("listen", at(ports.whois)), metrics_at(2))),
        Table("mirror", (), (("listen", at(ports.mirror)),)),
        Table("log", (), (("listen", at(ports.log)),)),
        Table(
            "etcd",
            ("Without endpoints, the secondary starts an etcd of its own.",),
            (("endpoints", list(node.etcd)),),
        ),
    ]


def upstream_of(settings: PrimarySettings) -> Endpoint:
    """Where nodes find this primary: where it listens for them, by a name in its certificate.

    ConfigurationError: it listens on port 0, which only it knows.
    """
    listen = settings.nodes.listen
    if listen.port == 0:
        raise ConfigurationError("the primary listens for nodes on any port: give --upstream")
    if not _is_any(listen.host):
        return listen
    names = names_of(read_certificates(settings.tls.certificate))
    return Endpoint(str((*names.addresses, *names.hosts)[0]), listen.port)


def loopback_of(names: Names) -> str:
    """Where metrics stay private: the node's own address if that is loopback."""
    first = names.addresses[0]
    return str(first) if first.is_loopback else "127.0.0.1"


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
