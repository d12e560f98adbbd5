"""The settings with which a mirror begins: as enrolled by hand, or joined with a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.endpoint import Endpoint
from node.scaffold import Table, Value, toml

SETTINGS_NAME: Final = "secondary.toml"
AUTHORITY_NAME: Final = "ca.pem"
CERTIFICATE_NAME: Final = "node.pem"
KEY_NAME: Final = "node.key"
ROOT_NAME: Final = "root.note"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a secondary listens: its services, and the first of three for its metrics."""

    dns: int = 5353
    whois: int = 4343
    mirror: int = 7443
    log: int = 7445
    http: int = 7450


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """A mirror to be: its name, the log, where it listens and whom it follows.

    `http` is the address that metrics are shown on; `etcd` are the endpoints of its etcd
    cluster, none of them if it starts one of its own.
    """

    name: str
    origin: str
    listen: str
    http: str
    ports: Ports
    upstream: Endpoint
    zone: str
    etcd: Sequence[str] = ()
    # The primary's public listener; None if it is not known.
    public: Endpoint | None = None
    # Whether what it cosigns is reported.
    reports: bool = True


def mirror_settings(plan: MirrorPlan) -> bytes:
    """The settings file."""
    ports = plan.ports

    def at(port: int) -> str:
        return str(Endpoint(plan.listen, port))

    def metrics_at(offset: int) -> tuple[str, Value]:
        return "http", str(Endpoint(plan.http, ports.http + offset))

    return toml(
        [
            Table(
                "",
                (
                    f"A secondary of {plan.origin}; docs/operations.md explains every setting.",
                    "Relative paths count from the directory of this file.",
                ),
                (("name", plan.name), ("upstream", str(plan.upstream))),
            ),
            Table("follower", (), (metrics_at(0),)),
            Table("dns", (), (("listen", at(ports.dns)), metrics_at(1), ("zone", plan.zone))),
            Table("whois", (), (("listen", at(ports.whois)), metrics_at(2))),
            Table("mirror", (), (("listen", at(ports.mirror)),)),
            Table("log", (), (("listen", at(ports.log)),)),
            *_membership(plan),
            Table(
                "etcd",
                ("Without endpoints, the secondary starts an etcd of its own.",),
                (("endpoints", list(plan.etcd)),),
            ),
        ]
    )


def _membership(plan: MirrorPlan) -> Iterator[Table]:
    if plan.public is not None:
        why = "The primary's public listener: a certificate that has ended is renewed there."
        yield Table("tls", (why,), (("renew_ended_at", str(plan.public)),))
    if not plan.reports:
        yield Table("cosigning", ("A reader: nobody counts on its word.",), (("report", False),))


def private_address(address: str) -> str:
    """Where metrics stay private: the mirror's own address if that is loopback."""
    return address if address.startswith("127.") or address == "::1" else "127.0.0.1"
