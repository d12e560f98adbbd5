"""All that is told of registrations, in memory: records and public openings, and their index."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final, Self

from node.lookup.counts import Counts
from node.lookup.index import Found, Index
from registry.address import Address
from registry.batch import Record, outline_record, parse_record
from registry.checkpoint import Checkpoint
from registry.contact import Commitment, Opening, check_opening
from registry.entry import state_key
from registry.errors import VerificationError
from registry.holder import Holder
from registry.kinds import ContactField, Kind
from registry.registration import Outline, Registration, outline
from registry.statistics import IPV4, IPV6, Age, Totals

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# When a look last found that all holds of a holder's mail server: milliseconds since 1970; 0: not
# known.
LastLook = Callable[[Address, bytes], int]

_REGISTRATION: Final = int(Kind.REGISTRATION)


@dataclass(frozen=True, slots=True)
class AsOf:
    """How far in the log an answer is, and when that was last known to be the newest (since 1970).

    `checkpoint` was signed by the log's key.
    """

    checkpoint: Checkpoint
    vouched_s: float


@dataclass(frozen=True, slots=True)
class HolderListing:
    """A holder as anyone may see it; times in milliseconds since 1970."""

    holder_id: bytes
    holder: Holder
    updated_ms: int
    index: int
    contact: tuple[Opening, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """One registration as anyone may see it; times in milliseconds since 1970.

    `holder` is None only where the log itself has none.
    """

    address: Address
    registration: Registration
    updated_ms: int
    index: int
    holder: HolderListing | None


@dataclass(frozen=True, slots=True)
class Several:
    """How many there are, and the first of them."""

    count: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many registrations there are, and how old; holders are those that have any."""

    ipv4: Totals
    ipv6: Totals
    domains: int
    holders: int
    ages: list[Age]


class Directory:
    """Keeps what was stored as it was, and decodes what is asked for.

    It takes records that were checked before they were stored, and checks them no more.
    One thread writes, any thread reads meanwhile.
    """

    def __init__(self, last_look: LastLook | None = None) -> None:
        """`last_look` is asked for looks that are in no log; of those only the primary knows."""
        self._records: dict[bytes, bytes] = {}
        self._openings: dict[bytes, bytes] = {}
        self._index = Index()
        self._counts = Counts()
        # The index is not for several threads.
        self._lock = Lock()
        self._as_of: AsOf | None = None
        self._last_look = last_look

    @property
    def as_of(self) -> AsOf:
        """How far in the log it is; RuntimeError before the first `stand`."""
        if self._as_of is None:
            raise RuntimeError("the directory was not loaded")
        return self._as_of

    def stand(self, as_of: AsOf) -> None:
        """All records up to there are in."""
        with self._lock:
            self._index.settle()
        self._as_of = as_of

    def __len__(self) -> int:
        """Number of records, holders included."""
        return len(self._records)

    def find(self, address: Address) -> Listing | None:
        """The registration of `address`; None when there is none."""
        stored = self._records.get(state_key(_REGISTRATION, address.packed))
        if stored is None:
            return None
        record, entry = parse_record(stored)
        registration = Registration.decode(entry.payload)
        holder = self.find_holder(registration.holder_id)
        return Listing(address, registration, entry.time_ms, record.index, holder)

    def verified_ms(self, listing: Listing) -> int:
        """When its proofs were last seen to hold, as far as it is known here; 0: not known."""
        registration = listing.registration
        if self._last_look is None:
            return registration.verified_ms
        looked_ms = self._last_look(listing.address, registration.holder_id)
        return max(registration.verified_ms, looked_ms)

    def find_holder(self, holder_id: bytes) -> HolderListing | None:
        """The holder of that identifier; None when there is none."""
        key = state_key(Kind.HOLDER, holder_id)
        stored, openings = self._records.get(key), self._openings.get(key)
        if stored is None:
            return None
        record, entry = parse_record(stored)
        holder = Holder.decode(entry.payload)
        contact = () if openings is None else tuple(_opened(holder, openings))
        return HolderListing(holder_id, holder, entry.time_ms, record.index, contact)

    def within(self, network: Network, limit: int) -> Several:
        """The registrations of a network, at most `limit` of them listed."""
        first, last = network[0].packed, network[-1].packed
        with self._lock:
            found = self._index.between(
                state_key(_REGISTRATION, first), state_key(_REGISTRATION, last), limit
            )
        return _several(found)

    def of_host(self, host: str, limit: int) -> Several:
        """Those of a canonical host name."""
        with self._lock:
            return _several(self._index.of_host(host, limit))

    def of_domain(self, domain: str, limit: int) -> Several:
        """Those whose host is a canonical name, or below it."""
        with self._lock:
            return _several(self._index.of_domain(domain, limit))

    def of_holder(self, holder_id: bytes, limit: int) -> Several:
        """Those of a holder."""
        with self._lock:
            return _several(self._index.of_holder(holder_id, limit))

    def summary(self) -> Summary:
        """What is counted."""
        counts = self._counts
        return Summary(
            counts.totals(IPV4),
            counts.totals(IPV6),
            counts.domains,
            self._index.holders,
            counts.ages(self.as_of.vouched_s),
        )

    def agrees_with(self, other: Self) -> bool:
        """Whether both hold the same records and public openings."""
        return self._records == other._records and self._openings == other._openings

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:
        """Takes a record of any kind; a registration is indexed and counted."""
        if state_key[0] == _REGISTRATION:
            self._change(state_key, outline(payload))
        self._records[state_key] = record

    def remove(self, state_key: bytes) -> None:
        """Forgets a record."""
        if state_key[0] == _REGISTRATION:
            self._change(state_key, None)
        self._records.pop(state_key, None)

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Takes the public openings of a holder."""
        self._openings[state_key] = record

    def remove_openings(self, state_key: bytes) -> None:
        """Forgets the public openings of a holder."""
        self._openings.pop(state_key, None)

    def _change(self, key: bytes, after: Outline | None) -> None:
        stored = self._records.get(key)
        before = None if stored is None else outline(outline_record(stored)[3])
        if before == after:
            return
        with self._lock:
            if before is not None:
                self._index.remove(key, before)
                self._counts.add(key, before, -1)
            if after is not None:
                self._index.add(key, after)
                self._counts.add(key, after, 1)


def _several(found: Found) -> Several:
    return Several(found.count, tuple(Address(key[1:]) for key in found.keys))


def _opened(holder: Holder, openings: bytes) -> Iterator[Opening]:
    """The openings that are public and open what the log committed to, of fields with a name."""
    commitments = {commitment.field: commitment for commitment in holder.commitments}
    for opening in Record.decode(openings).openings:
        commitment = commitments.get(opening.field)
        has_name = isinstance(opening.field, ContactField)
        if has_name and commitment is not None and _opens(commitment, opening):
            yield opening


def _opens(commitment: Commitment, opening: Opening) -> bool:
    try:
        check_opening(commitment, opening)
    except VerificationError:
        return False
    return True
