"""What the board decides: one act, its public reason, signed by k of n.

    smtpnic-decision 1
    origin smtpnic.org
    root 2                                the version under which it is decided
    proposed 2026-11-25T02:03:04Z
    expires 2026-12-09T02:03:04Z          it is in the log until then, or void
    suspend prefix 192.0.2.0/24
    reason sends unsolicited mail since Monday; three complaints unanswered

Instead of `suspend` one of `restore` (registration ADDRESS, holder HEX, prefix NETWORK),
`admit NAME`, `remove NAME`, `policy NAME VALUE`, `extend staleness TIME`, `lapses all TIME`,
`lapses none TIME`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from registry.address import Address
from registry.board_text import Lines, format_time, parse_number, parse_time
from registry.errors import MalformedError, Problem, UnknownValueError
from registry.limits import DECISION_ID_BYTES, HOLDER_ID_BYTES
from registry.names import is_canonical
from registry.note import check_key_name
from registry.registration import check_reason
from registry.root import DAY, Policies

NAMESPACE: Final = "smtpnic-decision"
FORMAT: Final = "1"
# A proposal that nobody signs for so long has no majority.
MAX_OPEN_SECONDS: Final = 90 * DAY
# A limit that is lifted for longer is none.
MAX_LAPSES_SECONDS: Final = 30 * DAY
# The whole Internet is not suspended by a slip of the hand.
MIN_PREFIX: Final = {4: 8, 6: 16}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class OfRegistration:
    """One address."""

    address: Address

    def covers(self, address: Address, _holder_id: bytes) -> bool:
        """Whether a registration is meant."""
        return address == self.address

    def words(self) -> str:
        """As in the text."""
        return f"registration {self.address}"


@dataclass(frozen=True, slots=True)
class OfHolder:
    """Everything that a holder has registered, and will."""

    holder_id: bytes

    def __post_init__(self) -> None:
        if len(self.holder_id) != HOLDER_ID_BYTES:
            raise MalformedError(f"a holder's identifier has {HOLDER_ID_BYTES} bytes")

    def covers(self, _address: Address, holder_id: bytes) -> bool:
        """Whether a registration is meant."""
        return holder_id == self.holder_id

    def words(self) -> str:
        """As in the text."""
        return f"holder {self.holder_id.hex()}"


@dataclass(frozen=True, slots=True)
class OfPrefix:
    """Every address of a network."""

    network: Network

    def __post_init__(self) -> None:
        if self.network.prefixlen < MIN_PREFIX[self.network.version]:
            raise MalformedError(f"{self.network} is too large: name networks of some size")

    def covers(self, address: Address, _holder_id: bytes) -> bool:
        """Whether a registration is meant."""
        if address.family != self.network.version:
            return False
        host_bits = self.network.max_prefixlen - self.network.prefixlen
        number = int.from_bytes(address.packed, "big")
        return number >> host_bits == int(self.network.network_address) >> host_bits

    def words(self) -> str:
        """As in the text."""
        return f"prefix {self.network}"


Target = OfRegistration | OfHolder | OfPrefix


@dataclass(frozen=True, slots=True)
class Suspend:
    """What is meant is not in DNS until it is restored."""

    target: Target

    def line(self) -> str:
        """As in the text."""
        return f"suspend {self.target.words()}"


@dataclass(frozen=True, slots=True)
class Restore:
    """The suspension of exactly this is over."""

    target: Target

    def line(self) -> str:
        """As in the text."""
        return f"restore {self.target.words()}"


@dataclass(frozen=True, slots=True)
class Admit:
    """The mirror may be in the A record set."""

    mirror: str

    def line(self) -> str:
        """As in the text."""
        return f"admit {self.mirror}"


@dataclass(frozen=True, slots=True)
class Remove:
    """The mirror may be no mirror any more."""

    mirror: str

    def line(self) -> str:
        """As in the text."""
        return f"remove {self.mirror}"


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A policy has this value, until the next root."""

    name: str
    value: int

    def __post_init__(self) -> None:
        Policies().having(self.name, self.value)

    def line(self) -> str:
        """As in the text."""
        return f"policy {self.name} {self.value}"


@dataclass(frozen=True, slots=True)
class ExtendStaleness:
    """Mirrors that hear nothing from the primary answer until then all the same."""

    until_s: int

    def line(self) -> str:
        """As in the text."""
        return f"extend staleness {format_time(self.until_s)}"


@dataclass(frozen=True, slots=True)
class SetLapses:
    """Until then all that has failed for long enough lapses, however much; or nothing does."""

    all: bool
    until_s: int

    def line(self) -> str:
        """As in the text."""
        return f"lapses {'all' if self.all else 'none'} {format_time(self.until_s)}"


Act = Suspend | Restore | Admit | Remove | SetPolicy | ExtendStaleness | SetLapses


@dataclass(frozen=True, slots=True)
class Decision:
    """An act of the board. Times are in seconds since 1970. MalformedError if it cannot be one."""

    origin: str
    root_version: int
    proposed_s: int
    expires_s: int
    act: Act
    reason: str

    def __post_init__(self) -> None:
        check_key_name(self.origin)
        if self.root_version < 1:
            raise MalformedError("roots have versions from 1")
        if not 0 < self.expires_s - self.proposed_s <= MAX_OPEN_SECONDS:
            raise MalformedError(f"a proposal is open for up to {MAX_OPEN_SECONDS // DAY} days")
        if isinstance(self.act, Admit | Remove) and not _is_name(self.act.mirror):
            raise MalformedError(f"{self.act.mirror!r} is no name of a mirror")
        if isinstance(self.act, SetLapses):
            open_s = self.act.until_s - self.proposed_s
            if not 0 < open_s <= MAX_LAPSES_SECONDS:
                days = MAX_LAPSES_SECONDS // DAY
                raise MalformedError(f"lapses are decided for up to {days} days from the proposal")
        try:
            check_reason(self.reason)
        except Problem as problem:
            raise MalformedError(f"the reason of a decision: {problem.message}") from None
        if not self.reason.strip():
            raise MalformedError("a decision has a reason, for everybody to read")

    @property
    def identifier(self) -> bytes:
        """What names it in the log: the beginning of its text's SHA-256."""
        return sha256(self.text().encode()).digest()[:DECISION_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Decision:
        """The decision in a text; MalformedError if it is none, or is written in another way."""
        lines = Lines(text)
        if lines.one("smtpnic-decision") != FORMAT:
            raise UnknownValueError("a decision of another format")
        decision = cls(
            origin=lines.one("origin"),
            root_version=parse_number(lines.one("root")),
            proposed_s=parse_time(lines.one("proposed")),
            expires_s=parse_time(lines.one("expires")),
            act=_take_act(lines),
            reason=lines.one("reason"),
        )
        lines.end()
        if decision.text() != text:
            raise MalformedError("a decision that is written in another way than it has to be")
        return decision

    def text(self) -> str:
        """The text that is signed."""
        return (
            f"smtpnic-decision {FORMAT}\n"
            f"origin {self.origin}\n"
            f"root {self.root_version}\n"
            f"proposed {format_time(self.proposed_s)}\n"
            f"expires {format_time(self.expires_s)}\n"
            f"{self.act.line()}\n"
            f"reason {self.reason}\n"
        )


def parse_act(text: str) -> Act:
    """The act that a line says; MalformedError if it says none."""
    verb, _, rest = text.partition(" ")
    read = _ACTS.get(verb)
    if read is None:
        raise MalformedError(f"{text!r} is nothing that a board decides")
    return read(rest)


def _take_act(lines: Lines) -> Act:
    for verb, read in _ACTS.items():
        rest = lines.maybe(verb)
        if rest is not None:
            return read(rest)
    raise UnknownValueError("a decision that decides nothing that this software knows")


def _parse_policy(text: str) -> SetPolicy:
    name, _, value = text.partition(" ")
    return SetPolicy(name, parse_number(value))


def _parse_extension(text: str) -> ExtendStaleness:
    what, _, until = text.partition(" ")
    if what != "staleness":
        raise MalformedError(f"extend {text!r}: only staleness is extended")
    return ExtendStaleness(parse_time(until))


def _parse_lapses(text: str) -> SetLapses:
    which, _, until = text.partition(" ")
    if which not in ("all", "none"):
        raise MalformedError(f"lapses {text!r}: expected all TIME or none TIME")
    return SetLapses(which == "all", parse_time(until))


def _parse_target(text: str) -> Target:
    what, _, which = text.partition(" ")
    try:
        match what:
            case "registration":
                return OfRegistration(Address.parse(which))
            case "holder":
                return OfHolder(bytes.fromhex(which))
            case "prefix":
                return OfPrefix(ipaddress.ip_network(which))
    except (Problem, ValueError) as error:
        raise MalformedError(f"{text!r}: {error}") from None
    raise MalformedError(f"{text!r}: expected registration ADDRESS, holder HEX or prefix NETWORK")


# How the rest of its line is read, by the word that begins it.
_ACTS: Final[Mapping[str, Callable[[str], Act]]] = {
    "suspend": lambda rest: Suspend(_parse_target(rest)),
    "restore": lambda rest: Restore(_parse_target(rest)),
    "admit": Admit,
    "remove": Remove,
    "policy": _parse_policy,
    "extend": _parse_extension,
    "lapses": _parse_lapses,
}


def _is_name(name: str) -> bool:
    """A mirror is named as in its certificate: one label, or a host name."""
    return is_canonical(f"{name}.x") if "." not in name else is_canonical(name)
