"""What is asked of the desk, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field

from primary.registering.application import Application
from primary.registering.findings import Finding
from primary.registering.quotas import Quotas
from registry.address import Address
from registry.contact import ContactValue


@dataclass(frozen=True, slots=True)
class Terms:
    """What this registry asks. `proofs`: whether anyone has to show anything at all.

    `can_send`: letters leave; `relay`: mail to holders is forwarded; `lab`: addresses that cannot
    be public are taken; `pending_ms`: how long an application waits.
    """

    proofs: bool
    can_send: bool
    relay: bool
    lab: bool
    pending_ms: int
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks for what. `host` and `domain` may be empty: the PTR record tells.

    `contact` is needed of a holder to be; `client` names who asks, for its quota.
    """

    holder_id: bytes
    management_key: bytes = field(repr=False)
    address: Address
    host: str = ""
    domain: str = ""
    contact: tuple[ContactValue, ...] = field(default=(), repr=False)
    client: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How an application stands; `index` and `checkpoint` are the receipt once it is granted."""

    application: Application
    findings: tuple[Finding, ...]
    index: int | None = None
    checkpoint: bytes = b""
