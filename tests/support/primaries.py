"""A primary as a real process on loopback, and the channels to its listeners."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from lab.cluster import NODES_PORT, PRIMARY_HTTP_PORT, Cluster
from lab.process import program, run
from registry.root_chain import RootChain
from tests.support.registrant import secure_channel


class RunningPrimary:
    """One primary with one enrolled node; no secondary runs."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.cluster = Cluster(root, secondaries=1, primary_env=env)
        self.cluster.prepare()

    @property
    def settings_file(self) -> Path:
        return self.cluster.primary_dir / "primary.toml"

    @property
    def node_dir(self) -> Path:
        """Where the enrolled node's certificate is."""
        return self.cluster.secondaries[0].directory

    @property
    def nodes(self) -> str:
        """Where the node listener is."""
        return f"{self.cluster.primary_address}:{NODES_PORT}"

    @property
    def keys(self) -> RootChain:
        """Which keys sign: by the root that the node pins."""
        return RootChain.pin((self.node_dir / "root.note").read_bytes())

    def public_channel(self) -> grpc.Channel:
        """As anyone."""
        cluster = self.cluster
        return secure_channel(cluster.public, cluster.ca, cluster.primary_address)

    def node_channel(self, identity: Path | None = None) -> grpc.Channel:
        """As the enrolled node, or with the node.pem and node.key of another directory."""
        directory = identity or self.node_dir
        credentials = grpc.ssl_channel_credentials(
            (self.node_dir / "ca.pem").read_bytes(),
            (directory / "node.key").read_bytes(),
            (directory / "node.pem").read_bytes(),
        )
        return grpc.secure_channel(self.nodes, credentials)

    def local_channel(self) -> grpc.Channel:
        """Over the administration socket."""
        return grpc.insecure_channel(f"unix:{self.cluster.primary_dir}/run/admin.sock")

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        address = f"http://{self.cluster.primary_address}:{PRIMARY_HTTP_PORT}/metrics"
        with urllib.request.urlopen(address, timeout=5) as reply:
            text = reply.read().decode()
        (value,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(value)

    def command(self, *arguments: str) -> str:
        """What `smtpnic-primary ARGUMENTS -c primary.toml` prints; it must succeed."""
        return run([program("smtpnic-primary"), *arguments, "-c", str(self.settings_file)])


@contextmanager
def running_primary(root: Path, env: Mapping[str, str] | None = None) -> Iterator[RunningPrimary]:
    """A primary that is ready; ended afterwards."""
    primary = RunningPrimary(root, env)
    with primary.cluster:
        primary.cluster.start_primary()
        yield primary
