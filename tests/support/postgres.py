"""A PostgreSQL cluster of the tests' own, from the installed server packages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.wait import wait_until

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"
START_SECONDS = 30
STOP_SECONDS = 20


@dataclass(frozen=True)
class Cluster:
    """A running server; every database in it ends with it."""

    port: int

    def create_database(self, name: str) -> str:
        """The URL of a new, empty database."""
        with psycopg.connect(self._address(USER), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            psycopg.connect(self._address(USER), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _address(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database}"


@contextmanager
def postgresql_cluster() -> Iterator[Cluster]:
    """A fresh cluster on a free loopback port, with its default durability; stopped at the end."""
    home = Path(tempfile.mkdtemp(prefix="smtpnic-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(home, USER, USER)
        data = home / "data"
        subprocess.run(
            [*_unprivileged(), _binary("initdb"), "-D", data, "-U", USER, "-A", "trust", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=home,
        )
        yield from _serve(home, data)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _serve(home: Path, data: Path) -> Iterator[Cluster]:
    port = _free_port()
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *_unprivileged(),
                _binary("postgres"),
                *("-D", data, "-p", str(port), "-k", home),
                *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50"),
            ],
            stdout=log,
            stderr=log,
            cwd=home,
        )
    cluster = Cluster(port)
    try:
        wait_until(cluster.answers, seconds=START_SECONDS, what="PostgreSQL answers")
        yield cluster
    finally:
        # Fast shutdown: connections that a failed test left open do not hold it up.
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _unprivileged() -> list[str]:
    """The server refuses to run as root; setpriv replaces itself by it, so the pid is its own."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def _binary(name: str) -> Path:
    versions = sorted(BINARIES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    assert versions, f"no {name} under {BINARIES}: install the Debian package postgresql"
    return versions[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
