"""Settings of the policy service: `policyd.toml`, and SMTPNIC_POLICYD_... above it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, PlainValidator, model_validator
from pydantic_settings import SettingsConfigDict

from node.endpoint import Endpoint
from node.limits import MAX_SOCKET_PATH_BYTES
from node.logging import LogFormat, LogLevel
from node.receiving import Mode, OnFailure
from node.settings import Positive, Settings, SettingsEndpoint
from registry.address import Address
from registry.errors import Problem

DEFAULT_FILE: Final = Path("/etc/smtpnic/policyd.toml")
DEFAULT_LISTEN: Final = "127.0.0.1:10040"
UNIX_PREFIX: Final = "unix:"
DNS_PORT: Final = 53


def _listener(text: str) -> str:
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"{text!r}: expected unix: and an absolute path, not too long")
    else:
        Endpoint.parse(text)
    return text


def _resolver(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    try:
        return Endpoint(str(Address.parse(str(value))), DNS_PORT)
    except Problem:
        return Endpoint.parse(str(value))


Listener = Annotated[str, AfterValidator(_listener)]
Resolver = Annotated[Endpoint, PlainValidator(_resolver)]
Network = IPv4Network | IPv6Network


def _network(text: str) -> str:
    ip_network(text)
    return text


class PolicydSettings(Settings):
    """Everything that the policy service is told."""

    model_config = SettingsConfigDict(env_prefix="SMTPNIC_POLICYD_")

    mode: Mode = Mode.ADVISE
    on_failure: OnFailure = OnFailure.ACCEPT
    zone: str = "smtpnic.org"
    # The list whose test entries are watched (RFC 5782, 5); default: `list.` before `zone`.
    list_zone: str | None = None
    # Told to who is not registered; default: https:// and `zone`.
    register_at: str | None = None
    # Clients that need no registration, beside those of this machine.
    own_networks: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    # Policy service (Postfix: check_policy_service): host:port, or unix: and a path.
    listen: tuple[Listener, ...] = (DEFAULT_LISTEN,)
    # Before-queue filter (Postfix: smtpd_proxy_filter), and the SMTP server behind it.
    filter_listen: tuple[Listener, ...] = ()
    filter_next: SettingsEndpoint = Endpoint("127.0.0.1", 10026)
    # Until a session through the filter in which nothing is said is ended. RFC 5321, 4.5.3.2.6: ten
    # minutes for the end of DATA are the longest that a client waits.
    filter_silence_seconds: Annotated[float, Field(gt=0, le=3600)] = 600.0
    # Metrics and health; none: not served.
    http: SettingsEndpoint | None = None
    # Addresses of resolvers, with a port if it is not 53; none: those of this machine.
    resolvers: tuple[Resolver, ...] = ()
    # Until an answer counts as a failure; a mail server waits while it is asked for.
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 2.0
    cache_size: Positive = 100_000
    # Between looks at the test entries; 0: they are not watched.
    guard_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    @model_validator(mode="after")
    def _something_listens(self) -> Self:
        if not self.listen and not self.filter_listen:
            raise ValueError("listen and filter_listen are empty: nothing would be served")
        return self

    @property
    def list_name(self) -> str:
        """The name of the list."""
        return self.list_zone or f"list.{self.zone}"

    @property
    def registration(self) -> str:
        """Where a mail server is registered."""
        return self.register_at or f"https://{self.zone}/"

    @property
    def networks(self) -> tuple[Network, ...]:
        """Whose clients need no registration: this machine's, and the site's own."""
        own = (ip_network(text) for text in self.own_networks)
        return (ip_network("127.0.0.0/8"), ip_network("::1/128"), *own)
