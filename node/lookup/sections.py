"""[whois] and [rdap]: the settings that primary and secondary have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from node.lookup.rates import LOOKUP_BURST, LOOKUPS_PER_SECOND
from node.lookup.urls import base_url
from node.settings import Positive, Section, SettingsEndpoint


class _AskedSection(Section):
    """What anyone may ask."""

    # Questions of one client, IPv6 /64: steadily, and at once after a silence. 0: no limit.
    per_second: Annotated[float, Field(ge=0)] = LOOKUPS_PER_SECOND
    burst: Positive = LOOKUP_BURST


class WhoisSection(_AskedSection):
    """[whois], as far as it is the same: where it listens is each side's own."""

    # Added to the process's niceness, so that what the node is for goes first.
    niceness: Annotated[int, Field(ge=0, le=19)] = 10


class RdapSection(_AskedSection):
    """[rdap]: RDAP (RFC 9083) over plain HTTP, in the process that answers WHOIS."""

    # None: no RDAP.
    listen: SettingsEndpoint | None = None
    # What others know it by, for links: https://rdap.example.net; else where it listens.
    url: Annotated[str, AfterValidator(base_url)] = ""
    # Open at once, and those of one address; a proxy before it is one address.
    connections: Positive = 200
    connections_per_client: Positive = 16
