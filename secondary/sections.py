"""The sections of the secondary's settings: the tables of `secondary.toml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from node.endpoint import Endpoint
from node.limits import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS
from node.lookup.sections import WhoisSection
from node.sections import LogSection, ReplicationSection
from node.settings import Positive, Section, SettingsAddress, SettingsEndpoint, SettingsPath
from registry.errors import Problem
from registry.member import Announced
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

_URL: Final = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_ENDPOINT: Final = re.compile(r"(unix:/.+|[^\s/]+:[0-9]{1,5})")

Seconds = Annotated[float, Field(gt=0)]
RateLimit = Annotated[int, Field(ge=0, le=MAX_LIMIT)]


class TlsSettings(Section):
    """[tls]: the registry's authority, and this node's certificate and key. PEM files.

    They may be replaced at any time.
    """

    ca: SettingsPath = Path("ca.pem")
    certificate: SettingsPath = Path("node.pem")
    key: SettingsPath = Path("node.key")
    # Whether the primary is asked for the next certificate, or others renew it in its file.
    renew: bool = True
    # The primary's public listener, where one that has ended is renewed all the same.
    renew_ended_at: SettingsEndpoint | None = None


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
    # The same as /readyz by grpc.health.v1, in plain text; nobody asks there without it.
    health: SettingsEndpoint | None = None
    zone: str = "smtpnic.org"
    # Host names outside the zone, and the mailbox with a dot for the @ (RFC 1035, 3.3.13).
    name_servers: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "a.ns.smtpnic.net",
        "b.ns.smtpnic.net",
    )
    hostmaster: str = "hostmaster.smtpnic.net"
    # The zone that `name_servers` stand in, answered here if it is named: their addresses are
    # those of the mirrors in the log's A record set. Its own name servers are the stable ones, with
    # their addresses, which the parent's glue repeats; they stand in for an empty set.
    server_zone: str | None = None
    server_hosts: dict[str, tuple[SettingsAddress, ...]] = Field(default_factory=dict)
    # Another than 300 seconds is for tests.
    server_ttl: Annotated[int, Field(ge=1, le=3600)] = 300
    # Keep what was loaded in the data directory: a restart serves it before etcd was read.
    table_file: bool = True
    # Without it, or where it was not built: answers in pure Python, by one thread.
    compiled: bool = True
    # Threads that answer UDP; default: one for each core.
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    # Take UDP queries from this interface by AF_XDP, past the kernel's IP; needs `compiled`.
    interface: str = ""
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
    def _servers_have_addresses(self) -> Self:
        if (self.server_zone is None) != (not self.server_hosts):
            raise ValueError("server_zone and server_hosts belong together: give both or none")
        if any(not addresses for addresses in self.server_hosts.values()):
            raise ValueError("server_hosts: each has an address or more")
        if self.server_zone in self.origins:
            raise ValueError(f"server_zone {self.server_zone} is another zone's name")
        return self

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


class WhoisSettings(WhoisSection):
    """[whois]: WHOIS (RFC 3912), TCP."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 4343)
    http: SettingsEndpoint = Endpoint("127.0.0.1", 7452)
    health: SettingsEndpoint | None = None
    # Between two looks at etcd: to be woken by each change would cost DNS more than a second of
    # waiting costs a person. 0: each change is taken at once.
    pause_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0


class FollowerSettings(Section):
    """[follower]: follows the log."""

    http: SettingsEndpoint = Endpoint("127.0.0.1", 7450)
    health: SettingsEndpoint | None = None
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


class LogSettings(LogSection):
    """[log]: the log for anyone's tools."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7445)
    # Entries that a snapshot left out are fetched, the newest first, as far back as this.
    old_entries: Annotated[int, Field(ge=0)] = DEFAULT_OLD_ENTRIES


class RelaySettings(ReplicationSection):
    """[relay]: replication for other secondaries that follow this one, over mutual TLS."""

    # Nobody may follow without it.
    listen: SettingsEndpoint | None = None
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
    # Without it nothing is reported: this node is a reader, which nobody counts on.
    report: bool = True


class LookSettings(Section):
    """[look]: looking at names for the primary, which a mirror sees from another place."""

    enabled: bool = True
    # Asked all, believed where most agree; none: those of /etc/resolv.conf.
    resolvers: tuple[SettingsEndpoint, ...] = ()
    # Mail servers a second; each is two lookups.
    per_second: Annotated[float, Field(gt=0, le=1000)] = 5.0


class SetSettings(Section):
    """[set]: what this mirror says of itself, to be admitted to the A record set."""

    # Where resolvers reach its DNS, on port 53; none: nothing is announced.
    addresses: tuple[SettingsAddress, ...] = ()
    # Who runs it, and where it stands: the set is spread over both.
    operator: str = ""
    region: str = ""
    # How often it is said. Other mirrors are looked at as often, where the primary asks for it.
    announce_seconds: Seconds = 10.0

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        try:
            Announced(self.operator, self.region, self.addresses)
        except Problem as problem:
            raise ValueError(str(problem)) from None
        return self
