"""The secondary's settings: `secondary.toml`, and SMTPNIC_SECONDARY_... above it.

Relative paths count from the directory of the file. Every role process reads the same file.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from node.endpoint import Endpoint
from node.limits import MAX_SOCKET_PATH_BYTES
from node.logging import LogFormat, LogLevel
from node.lookup.sections import RdapSection
from node.settings import Settings, SettingsEndpoint, SettingsPath
from secondary.layout import Layout
from secondary.sections import (
    CosigningSettings,
    DnsSettings,
    EtcdSettings,
    FollowerSettings,
    LogSettings,
    LookSettings,
    MirrorSettings,
    PeersSettings,
    RelaySettings,
    Seconds,
    SetSettings,
    TlsSettings,
    WhoisSettings,
)

# etcd takes a UNIX socket's address in the form host:port, as a name in its own directory.
CLIENT_SOCKET: Final = "client:1"


class Role(StrEnum):
    """A process of a secondary."""

    FOLLOWER = "follower"
    DNS = "dns"
    WHOIS = "whois"


class SecondarySettings(Settings):
    """Everything that a secondary is told."""

    model_config = SettingsConfigDict(env_prefix="SMTPNIC_SECONDARY_")

    # As in the node's certificate.
    name: str
    # The board's root that this secondary begins to trust with; it follows those that come after.
    root_file: SettingsPath = Path("root.note")
    # Where the log is followed: the primary's listener for nodes, or another secondary's relay.
    upstream: SettingsEndpoint
    data_dir: SettingsPath = Path("data")
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = tuple(Role)
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    # For tests: without any word from the registry for so long, DNS stops answering. Without it,
    # as the board has decided.
    max_silence_seconds: Seconds | None = None
    # How often a serving role recomputes the state root from what it serves.
    recheck_seconds: Seconds = 3600.0
    # From SIGTERM until what is in progress is cut.
    drain_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0

    tls: TlsSettings = Field(default_factory=TlsSettings)
    etcd: EtcdSettings = Field(default_factory=EtcdSettings)
    follower: FollowerSettings = Field(default_factory=FollowerSettings)
    relay: RelaySettings = Field(default_factory=RelaySettings)
    peers: PeersSettings = Field(default_factory=PeersSettings)
    cosigning: CosigningSettings = Field(default_factory=CosigningSettings)
    look: LookSettings = Field(default_factory=LookSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    mirror: MirrorSettings = Field(default_factory=MirrorSettings)
    dns: DnsSettings = Field(default_factory=DnsSettings)
    whois: WhoisSettings = Field(default_factory=WhoisSettings)
    rdap: RdapSection = Field(default_factory=RdapSection)
    set: SetSettings = Field(default_factory=SetSettings)

    @model_validator(mode="after")
    def _socket_fits(self) -> Self:
        if not self.etcd.endpoints and len(bytes(self.etcd_socket)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"{self.etcd_socket} is too long for a socket ({MAX_SOCKET_PATH_BYTES} bytes): "
                "give etcd.directory a shorter path"
            )
        return self

    @property
    def primary(self) -> Endpoint:
        """The primary's own listener for nodes."""
        return self.cosigning.report_to or self.upstream

    @property
    def layout(self) -> Layout:
        """The replica's keys in etcd."""
        return Layout(self.etcd.prefix)

    @property
    def etcd_directory(self) -> Path:
        """The child etcd's directory."""
        return (self.etcd.directory or self.data_dir / "etcd").absolute()

    @property
    def etcd_socket(self) -> Path:
        """The child etcd's socket."""
        return self.etcd_directory / CLIENT_SOCKET

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """Where etcd is: the cluster's endpoints, or the child's socket."""
        return self.etcd.endpoints or (f"unix:{self.etcd_socket}",)

    @property
    def dns_table_file(self) -> Path | None:
        """What DNS serves after a restart until etcd was read; None where it is not kept."""
        return self.data_dir / "dns.table" if self.dns.table_file else None

    @property
    def roots_dir(self) -> Path:
        """The roots that were verified since the pinned one."""
        return self.data_dir / "roots"

    @property
    def extension_file(self) -> Path:
        """The board's decision to answer longer, as an operator has put it here."""
        return self.data_dir / "extension.note"

    @property
    def drain_file(self) -> Path:
        """There while the operator wants nobody sent here."""
        return self.data_dir / "drained"

    @property
    def tiles_dir(self) -> Path:
        """The log's hash tiles."""
        return self.data_dir / "tiles"

    @property
    def entries_dir(self) -> Path:
        """The log's entries, in bundles."""
        return self.data_dir / "entries"

    @property
    def snapshots_dir(self) -> Path:
        """Snapshots that are being downloaded."""
        return self.data_dir / "snapshots"

    @property
    def relayed_snapshots_dir(self) -> Path:
        """Snapshots that were made here, for those who follow."""
        return self.data_dir / "relayed"
