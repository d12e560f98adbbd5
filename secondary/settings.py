"""The secondary's settings: `secondary.toml`, and SMTPNIC_SECONDARY_... above it.

Relative paths count from the directory of the file. Every role process reads the same file.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from node.endpoint import Endpoint
from node.limits import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS, MAX_SOCKET_PATH_BYTES
from node.logging import LogFormat, LogLevel
from node.settings import Positive, Section, Settings, SettingsEndpoint, SettingsPath
from secondary.dns.rate_limit import ERROR_LIMIT, MAX_LIMIT, NEGATIVE_LIMIT, POSITIVE_LIMIT
from secondary.etcd_values import EtcdTls
from secondary.layout import Layout

# etcd's advised maximum for --quota-backend-bytes, and its default.
MAX_QUOTA_BYTES: Final = 8 << 30
DEFAULT_QUOTA_BYTES: Final = 8 << 30
MIN_QUOTA_BYTES: Final = 16 << 20
# While a snapshot is loaded etcd holds two generations: a larger one would not go in.
DEFAULT_SNAPSHOT_BYTES: Final = DEFAULT_QUOTA_BYTES // 2
# Some 200 MB of registrations.
DEFAULT_OLD_ENTRIES: Final = 1_000_000
# etcd takes a UNIX socket's address in the form host:port, as a name in its own directory.
CLIENT_SOCKET: Final = "client:1"

_URL: Final = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_ENDPOINT: Final = re.compile(r"(unix:/.+|[^\s/]+:[0-9]{1,5})")

Seconds = Annotated[float, Field(gt=0)]
RateLimit = Annotated[int, Field(ge=0, le=MAX_LIMIT)]


class Role(StrEnum):
    """A process of a secondary."""

    FOLLOWER = "follower"
    DNS = "dns"
    WHOIS = "whois"


class TlsSettings(Section):
    """[tls]: the registry's authority, and this node's certificate and key. PEM files."""

    ca: SettingsPath = Path("ca.pem")
    certificate: SettingsPath = Path("node.pem")
    key: SettingsPath = Path("node.key")


class EtcdSettings(Section):
    """[etcd]: where the replica is kept; without endpoints, in an etcd of its own."""

    # Each host:port. Empty: a child process, reached through a socket in `directory`.
    endpoints: tuple[str, ...] = ()
    prefix: str = "/smtpnic"
    # For endpoints that speak TLS: the authority, and a client certificate if etcd asks for one.
    ca: SettingsPath | None = None
    certificate: SettingsPath | None = None
    key: SettingsPath | None = None
    # Of the child: its program, its directory (default: `etcd` in data_dir), its limits.
    binary: str = "etcd"
    directory: SettingsPath | None = None
    quota_bytes: Annotated[int, Field(ge=MIN_QUOTA_BYTES, le=MAX_QUOTA_BYTES)] = DEFAULT_QUOTA_BYTES
    # Old revisions are kept for so long, for readers that are loading.
    retention_seconds: Positive = 300

    @field_validator("endpoints")
    @classmethod
    def _endpoints(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for endpoint in endpoints:
            if not _ENDPOINT.fullmatch(endpoint):
                raise ValueError(f"{endpoint!r}: expected host:port, such as etcd-0.etcd:2379")
        return endpoints

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        return Layout(prefix).prefix

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.certificate is not None and self.ca is None:
            raise ValueError("a client certificate needs ca, the authority of etcd's own")
        return self

    @property
    def tls(self) -> EtcdTls | None:
        """The files for TLS, if any."""
        return EtcdTls(self.ca, self.certificate, self.key) if self.ca else None


class MirrorSettings(Section):
    """[mirror]: proofs and status, for anyone, over TLS."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7443)
    connections: Positive = 200
    calls: Positive = 16


class DnsSettings(Section):
    """[dns]: the name server, UDP and TCP."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 5353)
    http: SettingsEndpoint = Endpoint("127.0.0.1", 7451)
    zone: str = "smtpnic.org"
    # Host names outside the zone, and the mailbox with a dot for the @ (RFC 1035, 3.3.13).
    name_servers: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "a.ns.smtpnic.net",
        "b.ns.smtpnic.net",
    )
    hostmaster: str = "hostmaster.smtpnic.net"
    # Keep what was loaded in the data directory: a restart serves it before etcd was read.
    table_file: bool = True
    # Without it, or where it was not built: answers in pure Python, by one thread.
    compiled: bool = True
    # Threads that answer UDP; default: one for each core.
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    # The reversed lists: what is registered, what is not. `list.` and `unlisted.` before `zone`.
    list_zone: str | None = None
    unlisted_zone: str | None = None
    # Told to who is refused for not being registered; default: https:// and `zone`.
    register_at: str | None = None
    # What this server says of itself; nothing while empty (RFC 5001, RFC 4892).
    nsid: str = ""
    identity: str = ""
    version: str = ""
    # Secrets that a site's servers share (RFC 9018): 32 hexadecimal digits a line, the first makes
    # cookies, all verify. Without the file, one that nobody else knows.
    cookie_secret_file: SettingsPath | None = None
    # Answers over UDP a second to one network, IPv4 /24 or IPv6 /56; 0 for no limit.
    positive_limit: RateLimit = POSITIVE_LIMIT
    negative_limit: RateLimit = NEGATIVE_LIMIT
    error_limit: RateLimit = ERROR_LIMIT

    @model_validator(mode="after")
    def _origins_differ(self) -> Self:
        if len(set(self.origins)) < len(self.origins):
            raise ValueError(
                f"zone, list_zone and unlisted_zone are {', '.join(self.origins)}: "
                "expected three different names"
            )
        return self

    @property
    def origins(self) -> tuple[str, str, str]:
        """The names of the zones: dashed names, the list, its opposite."""
        return (
            self.zone,
            self.list_zone or f"list.{self.zone}",
            self.unlisted_zone or f"unlisted.{self.zone}",
        )


class WhoisSettings(Section):
    """[whois]: WHOIS (RFC 3912), TCP."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 4343)
    http: SettingsEndpoint = Endpoint("127.0.0.1", 7452)
    # Added to the process's niceness, so that DNS goes first.
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    # Between two looks at etcd: to be woken by each change would cost DNS more than a second of
    # waiting costs a person. 0: each change is taken at once.
    pause_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0


class FollowerSettings(Section):
    """[follower]: follows the log."""

    http: SettingsEndpoint = Endpoint("127.0.0.1", 7450)
    # Between losing the upstream and asking again, growing from the first to the second.
    retry_seconds: Seconds = BACKOFF_FIRST_SECONDS
    max_retry_seconds: Seconds = BACKOFF_MAX_SECONDS
    # After upstream gave something that is not what the registry signed.
    distrust_seconds: Seconds = 300.0
    # A larger snapshot is not read, whatever the upstream announces.
    max_snapshot_bytes: Positive = DEFAULT_SNAPSHOT_BYTES
    # A generation that is no longer served is deleted after so long.
    old_generation_seconds: Annotated[float, Field(ge=0)] = 60.0

    @model_validator(mode="after")
    def _retry_grows(self) -> Self:
        if self.retry_seconds > self.max_retry_seconds:
            raise ValueError("retry_seconds is the first delay, max_retry_seconds the longest")
        return self


class LogSettings(Section):
    """[log]: the log for anyone's tools, C2SP tlog-tiles over plain HTTP."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7445)
    # Open at once, and those of one address; a proxy before it is one address.
    connections: Positive = 64
    connections_per_client: Positive = 16
    # Entries that a snapshot left out are fetched, the newest first, as far back as this.
    old_entries: Annotated[int, Field(ge=0)] = DEFAULT_OLD_ENTRIES


class RelaySettings(Section):
    """[relay]: replication for other secondaries that follow this one, over mutual TLS."""

    # Nobody may follow without it.
    listen: SettingsEndpoint | None = None
    connections: Positive = 256
    calls: Positive = 512
    subscribers: Positive = 128
    subscribers_per_node: Positive = 4
    buffered_events: Positive = 512
    buffered_bytes: Positive = 16 * 1024 * 1024
    # The newest batches, for who comes back; who lacks more begins with a snapshot.
    kept_bytes: Positive = 64 * 1024 * 1024


class PeersSettings(Section):
    """[peers]: other mirrors, to compare with."""

    # Their logs over HTTP, such as http://mirror-2.example.net:7445.
    urls: tuple[str, ...] = ()
    look_seconds: Seconds = 10.0
    # Without what a peer has had for so long, DNS stops answering.
    behind_seconds: Seconds = 300.0

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not _URL.fullmatch(url):
                raise ValueError(f"{url!r}: expected a form such as http://mirror.example.net:7445")
        return tuple(url.rstrip("/") for url in urls)


class CosigningSettings(Section):
    """[cosigning]: this mirror's own word for what it has durably stored."""

    # The primary's listener for nodes; default: upstream. Needed where upstream is a secondary.
    report_to: SettingsEndpoint | None = None


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

    # Without any word from the registry for so long, DNS stops answering (14 days).
    max_silence_seconds: Seconds = 14 * 86400.0
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
    log: LogSettings = Field(default_factory=LogSettings)
    mirror: MirrorSettings = Field(default_factory=MirrorSettings)
    dns: DnsSettings = Field(default_factory=DnsSettings)
    whois: WhoisSettings = Field(default_factory=WhoisSettings)

    @model_validator(mode="after")
    def _socket_fits(self) -> Self:
        if not self.etcd.endpoints and len(bytes(self.etcd_socket)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"{self.etcd_socket} is too long for a socket ({MAX_SOCKET_PATH_BYTES} bytes): "
                "give etcd.directory a shorter path"
            )
        return self

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
