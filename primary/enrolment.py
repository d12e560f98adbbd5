"""Enrols a node by hand: a key and a certificate, and settings with which it can start."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.certificates import show
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.files import read_private, write_atomic
from node.mirror_settings import (
    AUTHORITY_NAME,
    CERTIFICATE_NAME,
    KEY_NAME,
    ROOT_NAME,
    SETTINGS_NAME,
    MirrorPlan,
    mirror_settings,
)
from node.scaffold import PUBLIC_MODE, make_empty
from node.tls import Identity, read_certificates
from primary.clock import clock_ms
from primary.membership.roll import Roll
from primary.membership.values import Node, Role
from primary.pki import Authority, Names, is_loopback, names_of
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.store import Store
from registry.errors import Problem


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node to be, and what its certificate is good for."""

    plan: MirrorPlan
    names: Names
    role: Role = Role.MIRROR
    operator: str = ""


def enroll(settings: PrimarySettings, enrolment: Enrolment, directory: Path) -> Path:
    """Writes the node's directory, and takes it in; the path of its settings.

    ConfigurationError: the directory holds something, or the authority's files are not usable;
    Problem: the name is none, or another node's.
    """
    plan = enrolment.plan
    authority = load_authority(settings)
    now, days = datetime.now(UTC), settings.authority.certificate_days
    identity = authority.issue_node(plan.name, enrolment.names, now, days)
    root = newest_root(settings)
    make_empty(directory)
    node = Node(
        plan.name,
        show(identity.certificate).key,
        enrolment.role,
        enrolment.operator,
        enrolment.names.texts,
        clock_ms(),
    )
    take_in(settings, node)
    write_atomic(directory / AUTHORITY_NAME, authority.identity.certificate, PUBLIC_MODE)
    write_atomic(directory / CERTIFICATE_NAME, identity.certificate, PUBLIC_MODE)
    write_atomic(directory / KEY_NAME, identity.key)
    write_atomic(directory / ROOT_NAME, root, PUBLIC_MODE)
    path = directory / SETTINGS_NAME
    write_atomic(path, mirror_settings(plan), PUBLIC_MODE)
    return path


def take_in(settings: PrimarySettings, node: Node) -> None:
    """Puts a node on the roll; Problem "exists": another one that may follow has the name."""
    with closing(Roll(settings.store_url)) as roll:
        known = roll.node(node.name)
        if known is not None and not known.is_removed and known.key != node.key:
            raise Problem(
                "exists",
                f"{node.name} is another node's name: choose another, or remove that node first "
                "('smtpnic-primary node remove')",
                "name",
            )
        roll.put(node)


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
    """A new key and certificate for the primary's listeners, with the names of the old one."""
    names = names_of(read_certificates(settings.tls.certificate))
    now, days = datetime.now(UTC), settings.authority.certificate_days
    server = load_authority(settings).issue_server(names, now, days)
    # Between the two a start is refused, and repeating this mends it.
    write_atomic(settings.tls.key, server.key)
    write_atomic(settings.tls.certificate, server.certificate, PUBLIC_MODE)


def load_authority(settings: PrimarySettings) -> Authority:
    """The authority that signs nodes; ConfigurationError when its files are not usable."""
    return Authority.load(
        Identity(read_certificates(settings.tls.ca), read_private(settings.authority.key))
    )


def upstream_of(settings: PrimarySettings) -> Endpoint:
    """Where nodes find this primary: where it listens for them, by a name in its certificate.

    ConfigurationError: it listens on port 0, which only it knows.
    """
    return _reachable(settings, settings.nodes.listen, "for nodes", "--upstream")


def public_of(settings: PrimarySettings) -> Endpoint:
    """Where anyone finds this primary, likewise."""
    return _reachable(settings, settings.public.listen, "for anyone", "--at")


def _reachable(settings: PrimarySettings, listen: Endpoint, whom: str, option: str) -> Endpoint:
    if listen.port == 0:
        raise ConfigurationError(f"the primary listens {whom} on any port: give {option}")
    if not _is_any(listen.host):
        return listen
    names = names_of(read_certificates(settings.tls.certificate))
    # A certificate names loopback too, where nobody else finds this machine.
    far = (text for text in names.texts if text != "localhost" and not is_loopback(text))
    return Endpoint(next(far, names.texts[0]), listen.port)


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
