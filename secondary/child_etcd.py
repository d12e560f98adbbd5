"""The etcd of a secondary that was given none: how it is started, and whether it may be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

from node.errors import ConfigurationError
from secondary.settings import CLIENT_SOCKET, SecondarySettings

NAME: Final = "secondary"
PEER_SOCKET: Final = "peer:1"
# etcd keeps so many entries in memory; its default of 100,000 batches would be gigabytes.
SNAPSHOT_COUNT: Final = 5_000
# It has nobody to wait for, and waits a second after each start unless it is told; with its own
# default heartbeat it waits half of that. A fifth of it would double what an idle etcd costs.
HEARTBEAT_MS: Final = 100
ELECTION_MS: Final = 5 * HEARTBEAT_MS
VERSION_SECONDS: Final = 10.0

_VERSION: Final = re.compile(r"etcd Version: (\S+)")


def command(settings: SecondarySettings) -> list[str]:
    """The command line; it has to be run in `settings.etcd_directory`.

    It listens on sockets in that directory alone, so only this user reaches it.
    """
    peer = f"unix://{PEER_SOCKET}"
    client = f"unix://{CLIENT_SOCKET}"
    options = {
        "name": NAME,
        "data-dir": "data",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{NAME}={peer}",
        "enable-grpc-gateway": "false",
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "quota-backend-bytes": str(settings.etcd.quota_bytes),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": f"{settings.etcd.retention_seconds}s",
        "snapshot-count": str(SNAPSHOT_COUNT),
        "logger": "zap",
        "log-level": "warn",
    }
    return [program(settings), *(f"--{name}={value}" for name, value in options.items())]


def remove_sockets(settings: SecondarySettings) -> None:
    """Remove what an etcd that was killed left; one that runs must not be there."""
    for name in (CLIENT_SOCKET, PEER_SOCKET):
        (settings.etcd_directory / name).unlink(missing_ok=True)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change etcd's settings."""
    return {name: value for name, value in inherited.items() if not name.startswith("ETCD_")}


def program(settings: SecondarySettings) -> str:
    """The path of the program; ConfigurationError, with what to do, if there is none."""
    found = shutil.which(settings.etcd.binary)
    if found is None:
        raise ConfigurationError(
            f"no program {settings.etcd.binary!r}: install etcd (Debian: apt install "
            "etcd-server), set etcd.binary to its path, or give etcd.endpoints of a cluster"
        )
    return os.path.realpath(found)


def installed_version(settings: SecondarySettings) -> str:
    """The program's version; ConfigurationError if it does not tell."""
    path = program(settings)
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own etcd
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            env=environment(os.environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"cannot run {path}: {error}") from error
    found = _VERSION.search(done.stdout)
    if found is None:
        raise ConfigurationError(f"{path} is not etcd: it does not tell its version")
    return found.group(1)
