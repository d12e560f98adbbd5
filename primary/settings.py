"""The primary's settings: `primary.toml`, and SMTPNIC_PRIMARY_... above it.

Relative paths count from the directory of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from node.endpoint import MAX_PORT, Endpoint
from node.limits import MAX_SOCKET_PATH_BYTES
from node.logging import LogFormat, LogLevel
from node.settings import Positive, Section, Settings, SettingsEndpoint, SettingsPath


class PublicSettings(Section):
    """[public]: registration, open to anyone, over TLS."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7441)
    # Connections open at once, and calls in progress over all of them.
    connections: Positive = 1000
    calls: Positive = 2000
    # Of one address; of IPv6, of one network of 64 bits.
    calls_per_client: Positive = 200
    # Until a bulk stream without a request, or a connection without a call, is ended.
    idle_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    # A connection takes no new call after so long, and is cut after twice that.
    connection_seconds: Annotated[float, Field(gt=0, le=86_400)] = 1800.0


class NodesSettings(Section):
    """[nodes]: replication, for enrolled nodes, over mutual TLS."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7442)
    connections: Positive = 256
    calls: Positive = 512
    # Streams of the log open at once, and what may wait for each.
    subscribers: Positive = 128
    # A node's stream that broke off unseen may be there still when it has made the next.
    subscribers_per_node: Positive = 4
    buffered_events: Positive = 512
    buffered_bytes: Positive = 16 * 1024 * 1024


class TlsSettings(Section):
    """[tls]: the authority that signs nodes, and the listeners' certificate. PEM files."""

    ca: SettingsPath = Path("ca.pem")
    certificate: SettingsPath = Path("server.pem")
    key: SettingsPath = Path("server.key")


class AuthoritySettings(Section):
    """[authority]: the authority's key; only `enroll` and `renew` read it."""

    key: SettingsPath = Path("ca.key")


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


class LogSettings(Section):
    """[log]: the log for anyone's tools, C2SP tlog-tiles over plain HTTP."""

    listen: SettingsEndpoint = Endpoint("127.0.0.1", 7444)
    # Open at once, and those of one address; a proxy before it is one address.
    connections: Positive = 64
    connections_per_client: Positive = 16


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


class RelaySection(Section):
    """[relay]: takes mail to relay+ID@origin and forwards it to the holder."""

    # None: no relay, and then a holder has to make one way of reaching it public.
    listen: SettingsEndpoint | None = None
    protocol: Literal["smtp", "lmtp"] = "smtp"
    max_bytes: Positive = 1024 * 1024
    # Messages of one client in an hour, and to one holder in a day.
    per_client: Positive = 20
    per_holder: Positive = 50


class PrimarySettings(Settings):
    """Everything that a primary is told."""

    model_config = SettingsConfigDict(env_prefix="SMTPNIC_PRIMARY_")

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
    relay: RelaySection = Field(default_factory=RelaySection)

    @model_validator(mode="after")
    def _relay_can_send(self) -> Self:
        if self.relay.listen is not None and self.mail.server is None:
            raise ValueError("[relay] forwards through [mail] server: set it too")
        return self

    @property
    def asks_proofs(self) -> bool:
        """Whether who registers has to show anything."""
        proofs = self.registering.proofs
        return not self.lab if proofs is None else proofs

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
    def snapshots_dir(self) -> Path:
        """The snapshot files."""
        return self.data_dir / "snapshots"
