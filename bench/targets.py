"""What ingest is measured on: the primary on either store, etcd, and gRPC that does nothing."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text

from bench.http2 import Target
from bench.registrant import CONTACT, Registrant, primary_of
from lab.asking import wait_for
from lab.cluster import PUBLIC_PORT, Cluster, loopback_network
from lab.process import LabProcess, program, run
from primary.store.database import SQLITE, Database
from secondary.etcdrpc import rpc_pb2

START_SECONDS: Final = 30.0
REGISTER: Final = "/smtpnic.v1.Registry/Register"
PUT: Final = "/etcdserverpb.KV/Put"
ETCD_PORT: Final = 2379
ETCD_PEER_PORT: Final = 2380


@dataclass(frozen=True)
class Measurable:
    """Something that answers calls: where, what to send it, and how durable its answers are.

    `messages` makes so many distinct requests; `count` tells how many changes it holds, None
    where it holds none; `process` is the server's process id.
    """

    name: str
    target: Target
    messages: Callable[[int], list[bytes]]
    count: Callable[[], int | None]
    durability: str
    process: int


@contextmanager
def primary_cluster(root: Path, store_url: str = "") -> Iterator[Cluster]:
    """A primary at work on an empty register, on SQLite unless an URL is given."""
    with Cluster(root, secondaries=0) as cluster:
        root.mkdir(parents=True, exist_ok=True)
        run([*cluster.init_command(), *([f"--store={store_url}"] if store_url else [])])
        cluster.write_cli_config()
        cluster.start_primary()
        yield cluster


def measurable_primary(name: str, cluster: Cluster, durability: str) -> Measurable:
    """Registrations, one by one, of a holder that this makes."""
    registrant = Registrant()
    with primary_of(cluster) as primary:
        primary.create_holder(registrant.key, CONTACT)

    def count() -> int:
        with primary_of(cluster) as primary:
            return primary.statistics().registrations

    target = Target(cluster.primary_address, PUBLIC_PORT, REGISTER, cluster.ca)
    return Measurable(name, target, registrant.single, count, durability, cluster.primary.pid)


@contextmanager
def echo_server(cluster: Cluster, checkpoint_bytes: int) -> Iterator[Measurable]:
    """A server with the primary's certificate and messages, which does nothing."""
    endpoint = f"{cluster.primary_address}:{PUBLIC_PORT + 100}"
    command = [program("python"), "-m", "bench.echo", endpoint, str(cluster.primary_dir)]
    process = LabProcess("echo", [*command, str(checkpoint_bytes)], cluster.root / "echo.log")
    target = Target(cluster.primary_address, PUBLIC_PORT + 100, REGISTER, cluster.ca)
    with _running(process, target):
        messages = Registrant().single
        yield Measurable("grpc_echo", target, messages, lambda: None, "none", process.pid)


@contextmanager
def etcd_server(root: Path) -> Iterator[Measurable]:
    """An etcd as Debian starts it: one node, every put synced to its log before the answer."""
    root.mkdir(parents=True, exist_ok=True)
    address = f"{loopback_network()}.8"
    etcd = shutil.which("etcd") or "etcd"
    client, peer = (f"http://{address}:{port}" for port in (ETCD_PORT, ETCD_PEER_PORT))
    options = {
        "--name": "bench",
        "--data-dir": str(root / "data"),
        "--listen-client-urls": client,
        "--advertise-client-urls": client,
        "--listen-peer-urls": peer,
        "--initial-advertise-peer-urls": peer,
        "--initial-cluster": f"bench={peer}",
    }
    command = [etcd, *(f"{name}={value}" for name, value in options.items())]
    process = LabProcess("etcd", command, root / "etcd.log")
    version = run([etcd, "--version"]).splitlines()[0].removeprefix("etcd Version: ")
    durability = f"etcd {version}, defaults: fdatasync of the write-ahead log before the answer"
    target = Target(address, ETCD_PORT, PUT, None)
    with _running(process, target):
        yield Measurable("etcd", target, _puts, lambda: None, durability, process.pid)


def store_durability(url: str) -> str:
    """The settings that make a commit durable, read from a connection as the primary opens it."""
    database = Database(url)
    names = (
        ("journal_mode", "synchronous", "wal_autocheckpoint")
        if database.kind == SQLITE
        else ("server_version", "fsync", "synchronous_commit", "wal_sync_method")
    )
    ask = "PRAGMA" if database.kind == SQLITE else "SHOW"
    try:
        with database.writing() as connection:
            found = {name: connection.scalar(text(f"{ask} {name}")) for name in names}
    finally:
        database.close()
    return f"{database.kind}: " + ", ".join(f"{name}={value}" for name, value in found.items())


def _puts(count: int) -> list[bytes]:
    """Puts of values as long as a registration's entry, each under a key of its own."""
    value = bytes(120)
    return [
        rpc_pb2.PutRequest(key=b"bench/" + os.urandom(8), value=value).SerializeToString()
        for _ in range(count)
    ]


@contextmanager
def _running(process: LabProcess, target: Target) -> Iterator[None]:
    process.start()
    try:
        wait_for(lambda: _listens(target), START_SECONDS, f"{process.name} listens")
        yield
    finally:
        process.stop()


def _listens(target: Target) -> bool:
    try:
        socket.create_connection((target.host, target.port), timeout=1).close()
    except OSError:
        return False
    return True
