"""Mirrors that join with tokens, as people do it: commands and what they print."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from lab.cluster import NODES_PORT, SECONDARY_ENV, Cluster, Secondary
from lab.process import LabProcess, program, run
from primary.membership import commands
from primary.membership.values import HOUR_MS, Node, Role, Ticket
from primary.pki import Names
from primary.settings import PrimarySettings
from tests.support.probe import QUICK

RPC_SECONDS = 10.0


@dataclass(frozen=True)
class Said:
    """How a command ended, and all that it printed."""

    code: int
    text: str


def primary(cluster: Cluster, *arguments: str) -> str:
    """What `smtpnic-primary ARGUMENTS` prints; it must succeed."""
    config = f"--config={cluster.primary_dir / 'primary.toml'}"
    return run([program("smtpnic-primary"), *arguments, config])


def settings_of(cluster: Cluster) -> PrimarySettings:
    """The primary's."""
    return PrimarySettings.load(cluster.primary_dir / "primary.toml")


def make_token(
    cluster: Cluster, name: str, address: str = "", *, life_ms: int = HOUR_MS, role: str = "mirror"
) -> str:
    """A new token, as `token create` makes it."""
    text, _ = commands.create_token(
        settings_of(cluster),
        name=name,
        role=Role(role),
        operator="",
        names=Names.of([address]) if address else None,
        life_ms=life_ms,
        at=None,
        upstream=None,
    )
    return text


def nodes(cluster: Cluster) -> dict[str, Node]:
    """The roll, by name."""
    return {each.name: each for each in commands.list_nodes(settings_of(cluster))}


def tickets(cluster: Cluster) -> dict[str, Ticket]:
    """The tokens, by the name of who joined or is to."""
    found = commands.list_tokens(settings_of(cluster))
    return {each.used_name or each.name: each for each in found}


def join(token: str, directory: Path, *options: str, env: dict[str, str] | None = None) -> Said:
    """`smtpnic-secondary join TOKEN DIR OPTIONS`."""
    done = subprocess.run(
        [program("smtpnic-secondary"), "join", token, str(directory), *options],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout + done.stderr)


def joined(cluster: Cluster, name: str, last_octet: int, role: str = "mirror") -> Secondary:
    """A mirror that has joined, at an address of the cluster's network, and does not run yet."""
    address = f"{cluster.network}.{last_octet}"
    directory = cluster.root / name
    token = make_token(cluster, name, address, role=role)
    said = join(token, directory)
    assert (0, said.text) == (said.code, said.text)
    return mirror_at(cluster, name, address)


def mirror_at(cluster: Cluster, name: str, address: str) -> Secondary:
    """The mirror in a directory of its name, as a process that is not started."""
    directory = cluster.root / name
    command = [program("smtpnic-secondary"), "run", "-c", str(directory / "secondary.toml")]
    process = LabProcess(name, command, cluster.root / f"{name}.log", SECONDARY_ENV | QUICK)
    return Secondary(name, address, directory, process)


def node_channel(cluster: Cluster, directory: Path, at: str = "") -> grpc.Channel:
    """To the listener for nodes, or another, with the certificate in a directory."""
    credentials = grpc.ssl_channel_credentials(
        cluster.ca.read_bytes(),
        (directory / "node.key").read_bytes(),
        (directory / "node.pem").read_bytes(),
    )
    # A connection of its own: gRPC would share one with the same credentials.
    options = [("grpc.use_local_subchannel_pool", 1)]
    at = at or f"{cluster.primary_address}:{NODES_PORT}"
    return grpc.secure_channel(at, credentials, options)


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    """How a call is refused."""
    try:
        call(request, timeout=RPC_SECONDS)
    except grpc.RpcError as error:
        # What calls raise is also a grpc.Call, which the types of grpc do not say.
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
