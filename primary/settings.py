"""The primary's settings: `primary.toml`, and SMTPNIC_PRIMARY_... above it.

Relative paths count from the directory of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from node.certificates import CERTIFICATE_DAYS
from node.endpoint import MAX_PORT, Endpoint
from node.limits import MAX_SOCKET_PATH_BYTES
from node.logging import LogFormat, LogLevel
from node.lookup.sections import RdapSection, WhoisSection
from node.sections import LogSection, ReplicationSection
from node.settings import (
    Positive,
    Section,
    Settings,
    SettingsAddress,
    SettingsEndpoint,
    SettingsPath,
)
from registry.member import MAX_PLACES
from registry.node_name import is_node_name


class PublicSettings(Section):
    """[public]: registration, open to anyone, over TLS."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7441)
    # Connections open at once, and calls in progress over all of them.
    connections: Positive = 1000
    calls: Positive = 2000
    # Of one address; of IPv6, of one network of 64 bits.
    connections_per_client: Positive = 200
    calls_per_client: Positive = 200
    # Until a bulk stream without a request, or a connection without a call, is ended.
    idle_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    # A connection takes no new call after so long, and is cut after twice that.
    connection_seconds: Annotated[float, Field(gt=0, le=86_400)] = 1800.0


class NodesSettings(ReplicationSection):
    """[nodes]: replication, for enrolled nodes, over mutual TLS."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7442)


class TlsSettings(Section):
    """[tls]: the authority that signs nodes, and the listeners' certificate. PEM files."""

    ca: SettingsPath = Path("ca.pem")
    certificate: SettingsPath = Path("server.pem")
    key: SettingsPath = Path("server.key")


class AuthoritySettings(Section):
    """[authority]: the authority's key, which signs certificates; without it nobody joins."""

    key: SettingsPath = Path("ca.key")
    # How long a certificate is good; it is renewed after two thirds of that.
    certificate_days: Annotated[float, Field(gt=0, le=825)] = CERTIFICATE_DAYS
    # Whether the listeners' certificate is renewed here, or comes from files that others renew.
    renew: bool = True


class AdministrationSettings(Section):
    """[administration]: a UNIX socket that only its owner can open."""

    socket: SettingsPath = Path("run/admin.sock")

    @field_validator("socket")
    @classmethod
    def _fits(cls, path: Path) -> Path:
        if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"a socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes: give a shorter one"
            )
        return path


class HttpSettings(Section):
    """[http]: /metrics, /livez and /readyz, without TLS: keep it private."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7440)
    # The same as /readyz by grpc.health.v1, in plain text; nobody asks there without it.
    health: SettingsEndpoint | None = None


class LogSettings(LogSection):
    """[log]: the log for anyone's tools."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7444)


class IntakeSettings(Section):
    """[intake]: what may wait to be committed."""

    # Changes; more are refused until there is room.
    waiting_changes: Positive = 8000
    # Requests of bulk streams, 600 changes each at most; more wait in their streams.
    bulk_requests: Positive = 8


class RegisteringSettings(Section):
    """[registering]: what is asked of who registers."""

    # Whether anything has to be shown; None: unless `lab` is set. The administration's socket
    # takes every change.
    proofs: bool | None = None
    # Asked all, believed where most agree; none: those of /etc/resolv.conf.
    resolvers: tuple[SettingsEndpoint, ...] = ()
    # Domains in which nobody registers, beside the origin.
    own_zones: tuple[str, ...] = ()
    # Where greetings are read; another than 25 is for laboratories.
    greeting_port: Annotated[int, Field(ge=1, le=MAX_PORT)] = 25
    # How long an application waits.
    pending_days: Annotated[float, Field(gt=0, le=90)] = 7.0
    # The most registrations of one domain, mailbox and network; applications count.
    per_domain: Positive = 1000
    per_email: Positive = 1000
    per_ipv4_24: Positive = 64
    per_ipv6_64: Positive = 8
    per_ipv6_48: Positive = 64
    # Letters to one mailbox that wait to be answered.
    unconfirmed_per_email: Positive = 5
    # Letters that one network, or one holder, causes in a week.
    letters: Positive = 64
    # Applications that one client begins in an hour, and that wait in all.
    per_client: Positive = 1000
    pending: Positive = 100_000
    # Queries a second to one name server, while registrations are looked at again.
    per_name_server: Annotated[float, Field(gt=0)] = 2.0
    # How often it looks for what is due.
    round_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0


class MailSettings(Section):
    """[mail]: the SMTP server that takes the registry's letters."""

    server: SettingsEndpoint | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: SecretStr = SecretStr("")
    # The e-mail address that letters come from; empty: registry@ the origin.
    sender: str = ""
    # The page that confirms, with {token} in it; empty: letters tell the command alone.
    confirm_link: str = ""

    @field_validator("confirm_link")
    @classmethod
    def _has_token(cls, link: str) -> str:
        if link and "{token}" not in link:
            raise ValueError(
                "a link with {token} in it, such as https://smtpnic.org/confirm/{token}"
            )
        return link


class MailRelaySection(Section):
    """[mail_relay]: takes mail to relay+ID@origin and forwards it to the holder."""

    # None: no relay, and then a holder has to make one way of reaching it public.
    listen: SettingsEndpoint | None = None
    protocol: Literal["smtp", "lmtp"] = "smtp"
    max_bytes: Positive = 1024 * 1024
    # Messages of one client in an hour, and to one holder in a day.
    per_client: Positive = 20
    per_holder: Positive = 50


class SetSettings(Section):
    """[set]: the A record set, which resolvers are sent to."""

    # Its names, each with several mirrors' addresses: a.ns, b.ns, ... of the servers' zone.
    places: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PLACES)] = ("a", "b")
    # The zone of dashed names that mirrors are asked for; empty: the origin.
    zone: str = ""
    # How often every mirror is looked at, and where it answers DNS.
    round_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    dns_port: Annotated[int, Field(ge=1, le=MAX_PORT)] = 53
    # Addresses to look from that nobody can tell for the registry's; none: the machine's own.
    probe_from: tuple[SettingsAddress, ...] = ()
    # Of the last `window` rounds: so many bad ones, so many good ones, to be ill and well.
    window: Positive = 5
    bad_rounds: Positive = 3
    good_rounds: Positive = 5
    # Changes that may come at once, and until one more may. The set is not made smaller than
    # `floor`.
    changes: Positive = 2
    seconds_per_change: Annotated[float, Field(gt=0)] = 600.0
    floor: Positive = 3
    # A mirror that has not cosigned for so long, or not what was signed so long ago, is ill.
    lag_seconds: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _rounds_fit(self) -> Self:
        if max(self.bad_rounds, self.good_rounds) > self.window:
            raise ValueError("bad_rounds and good_rounds are at most window")
        if len(set(self.places)) < len(self.places) or not all(map(is_node_name, self.places)):
            raise ValueError("places: different labels, such as a and b")
        return self


class WhoisSettings(WhoisSection):
    """[whois]: WHOIS (RFC 3912), TCP, by a process of its own."""

    # None: no WHOIS.
    listen: SettingsEndpoint | None = None
    # /metrics, /livez and /readyz of that process; None: none.
    http: SettingsEndpoint | None = None
    # Between two looks at the database.
    pause_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0


class WebSection(Section):
    """[web]: the page for people with a browser."""

    # None: no page.
    listen: SettingsEndpoint | None = None
    # Where people find it, without a path: https://smtpnic.org
    url: str = ""
    # PEM files, for TLS without a proxy; neither: a proxy before it speaks TLS.
    certificate: SettingsPath | None = None
    key: SettingsPath | None = None
    # Addresses or networks of proxies, which are believed whom they name in X-Forwarded-For.
    proxies: tuple[IPvAnyNetwork, ...] = ()
    # Open at once, and those of one address that is no proxy's.
    connections: Positive = 500
    connections_per_client: Positive = 32
    # Of one address, or of one IPv6 network of 64 bits, in a minute.
    pages_per_minute: Positive = 240
    looks_per_minute: Positive = 60
    changes_per_minute: Positive = 30
    # The board's mailbox, which hears of complaints and of lapses held back; empty: none is sent.
    board: str = ""
    # Complaints of one client in an hour, and about one holder in a day.
    complaints_per_client: Positive = 5
    complaints_per_holder: Positive = 20

    @field_validator("url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (
            parts.scheme not in ("https", "http") or f"{parts.scheme}://{parts.netloc}" != url
        ):
            raise ValueError("a scheme and a host in small letters, such as https://smtpnic.org")
        return url.lower()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.listen is not None and not self.url:
            raise ValueError("set url too, such as https://smtpnic.org")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class PrimarySettings(Settings):
    """Everything that a primary is told."""

    model_config = SettingsConfigDict(env_prefix="SMTPNIC_PRIMARY_")
    # A relay, without more, is a mirror's, for those who follow it.
    renamed: ClassVar[Mapping[str, str]] = {"relay": "mail_relay"}

    # Names the log in every checkpoint; it never changes.
    origin: str
    # The board's founding root, which nodes pin; the log holds those that follow.
    root_file: SettingsPath = Path("root.note")
    log_key_file: SettingsPath = Path("log.key")
    # The key that is to take its place, as soon as the board's root names it.
    next_log_key_file: SettingsPath = Path("log.next.key")
    freshness_key_file: SettingsPath = Path("freshness.key")
    data_dir: SettingsPath = Path("data")
    # An SQLAlchemy URL; empty: an SQLite file in `data_dir`.
    store: SecretStr = SecretStr("")

    # Where mirrors tell how far they are: asked before anything is signed. One has to answer.
    mirrors: tuple[SettingsEndpoint, ...] = ()

    # Registers addresses that no public mail server can have; for laboratories only.
    lab: bool = False
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    freshness_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    # A subscriber that lacks more entries than this is given a snapshot.
    stream_limit: Positive = 100_000
    # A snapshot is made each time the log has grown by so many entries.
    snapshot_every: Positive = 100_000
    # From SIGTERM until calls in progress are cut.
    drain_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0

    public: PublicSettings = Field(default_factory=PublicSettings)
    nodes: NodesSettings = Field(default_factory=NodesSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    authority: AuthoritySettings = Field(default_factory=AuthoritySettings)
    administration: AdministrationSettings = Field(default_factory=AdministrationSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    registering: RegisteringSettings = Field(default_factory=RegisteringSettings)
    mail: MailSettings = Field(default_factory=MailSettings)
    mail_relay: MailRelaySection = Field(default_factory=MailRelaySection)
    whois: WhoisSettings = Field(default_factory=WhoisSettings)
    rdap: RdapSection = Field(default_factory=RdapSection)
    web: WebSection = Field(default_factory=WebSection)
    set: SetSettings = Field(default_factory=SetSettings)

    @model_validator(mode="after")
    def _relay_can_send(self) -> Self:
        if self.mail_relay.listen is not None and self.mail.server is None:
            raise ValueError("[mail_relay] forwards through [mail] server: set it too")
        return self

    @model_validator(mode="after")
    def _page_is_safe(self) -> Self:
        if self.web.url.startswith("http:") and not self.lab:
            raise ValueError("[web] url: people give their management key there: https only")
        return self

    @property
    def confirm_link(self) -> str:
        """The page that confirms an e-mail address; empty if there is none."""
        has_page = self.web.listen is not None
        return self.mail.confirm_link or (f"{self.web.url}/confirm/{{token}}" if has_page else "")

    @property
    def asks_proofs(self) -> bool:
        """Whether who registers has to show anything."""
        proofs = self.registering.proofs
        return not self.lab if proofs is None else proofs

    @property
    def answers_lookups(self) -> bool:
        """Whether there is WHOIS or RDAP at the primary."""
        return self.whois.listen is not None or self.rdap.listen is not None

    @property
    def mail_sender(self) -> str:
        """The e-mail address that letters come from."""
        return self.mail.sender or f"registry@{self.origin}"

    @property
    def store_url(self) -> str:
        """The database's URL; it may hold a password."""
        return self.store.get_secret_value() or f"sqlite:///{self.data_dir / 'registry.sqlite3'}"

    @property
    def checkpoint_file(self) -> Path:
        """The last signed checkpoint."""
        return self.data_dir / "checkpoint"

    @property
    def proposals_dir(self) -> Path:
        """What the board has proposed and not yet decided."""
        return self.data_dir / "proposals"

    @property
    def tiles_dir(self) -> Path:
        """The log's hash tiles."""
        return self.data_dir / "tiles"

    @property
    def cosigners_dir(self) -> Path:
        """The public key that each mirror cosigns with."""
        return self.data_dir / "cosigners"

    @property
    def cookie_key_file(self) -> Path:
        """What the page's cookies are encrypted with."""
        return self.data_dir / "cookies.key"

    @property
    def snapshots_dir(self) -> Path:
        """The snapshot files."""
        return self.data_dir / "snapshots"
