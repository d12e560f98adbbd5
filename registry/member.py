"""Members: the mirrors that the board has admitted, and where they stand in the A record set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from registry.address import Address
from registry.errors import MalformedError, Problem
from registry.kinds import MemberStatus
from registry.messages import by_number, known_or_number, parse
from registry.node_name import is_node_name
from registry.registration import check_reason
from registry.wire.v1 import log_pb2

# At most 8 addresses a name: with both families an answer with NSID stays within 512 bytes.
MAX_ADDRESSES_PER_PLACE: Final = 8
# Anycast and a few unicast ones, of both families.
MAX_MEMBER_ADDRESSES: Final = 8
# As long as a DNS label; more is no label to sort by.
MAX_WORD_CHARACTERS: Final = 63
# The letters of the alphabet: thirteen names fill a referral.
MAX_PLACES: Final = 13
# RFC 5001 sets none; operators use host names.
MAX_NSID_BYTES: Final = 63

_STATUSES: Final = by_number(MemberStatus)


@dataclass(frozen=True, slots=True)
class Announced:
    """What a mirror says of itself: who runs it, where it stands, where it answers DNS.

    Problem "addresses" or "announced", whose field names the part that does not fit.
    """

    operator: str = ""
    region: str = ""
    addresses: tuple[Address, ...] = ()
    nsid: str = ""

    def __post_init__(self) -> None:
        for part, word in (("operator", self.operator), ("region", self.region)):
            _check_word(word, part)
        if len(set(self.addresses)) < len(self.addresses):
            raise Problem("addresses", "an address is named twice", "addresses")
        if len(self.addresses) > MAX_MEMBER_ADDRESSES:
            raise Problem("addresses", f"at most {MAX_MEMBER_ADDRESSES} addresses", "addresses")
        if not self.nsid.isascii() or len(self.nsid) > MAX_NSID_BYTES:
            raise Problem("announced", f"at most {MAX_NSID_BYTES} ASCII characters", "nsid")


@dataclass(frozen=True, slots=True)
class Member:
    """The whole public state of an admitted mirror, the payload of its entry.

    `places` are the names of the set that its addresses stand under, such as "a"; none: it is
    out, and `reason` says why. A status that this software does not know is a plain number: where
    a member stands is what its places say. MalformedError: a part does not fit.
    """

    announced: Announced = field(default_factory=Announced)
    status: MemberStatus | int = MemberStatus.ADMITTED
    places: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if len(set(self.places)) < len(self.places) or len(self.places) > MAX_PLACES:
            raise MalformedError("places are few, and different")
        for place in self.places:
            if not is_node_name(place):
                raise MalformedError(f"{place!r} is no place in the set")
        if self.places and not self.announced.addresses:
            raise MalformedError("a member in the set has an address")
        try:
            if self.reason:
                check_reason(self.reason)
        except Problem as problem:
            raise MalformedError(str(problem)) from None

    @property
    def is_in_set(self) -> bool:
        """Whether anyone is sent to it."""
        return bool(self.places)

    def encode(self) -> bytes:
        """The payload bytes."""
        return log_pb2.Member(
            operator=self.announced.operator,
            region=self.announced.region,
            addresses=[address.packed for address in self.announced.addresses],
            nsid=self.announced.nsid,
            status=log_pb2.MemberStatus.ValueType(self.status),
            places=self.places,
            reason=self.reason,
        ).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> Member:
        """The member in payload bytes; MalformedError if they hold none."""
        message = parse(log_pb2.Member, data)
        try:
            announced = Announced(
                message.operator,
                message.region,
                tuple(Address(packed) for packed in message.addresses),
                message.nsid,
            )
        except (Problem, ValueError) as error:
            raise MalformedError(f"not a member: {error}") from None
        status = known_or_number(_STATUSES, message.status)
        return cls(announced, status, tuple(message.places), message.reason)


def member_key(name: str) -> bytes:
    """The key of a mirror's entry."""
    return name.encode("ascii")


def member_name(key: bytes) -> str:
    """The mirror that a key names; MalformedError if it names none."""
    name = key.decode("ascii", "replace")
    if not is_node_name(name):
        raise MalformedError(f"{key!r} names no mirror")
    return name


def _check_word(word: str, field: str) -> None:
    if len(word) > MAX_WORD_CHARACTERS or not word.isprintable() or word != word.strip():
        raise Problem("announced", f"one line of {MAX_WORD_CHARACTERS} characters at most", field)
