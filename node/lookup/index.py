"""Where registrations are found: by address, network, host, domain and holder, in memory.

Sorted lists of bytes instead of dictionaries: of a million registrations they take half of it,
and give networks and domains as ranges. Not for several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sortedcontainers import SortedList

from registry.address import IPV4_BYTES, IPV6_BYTES
from registry.entry import state_key
from registry.kinds import Kind
from registry.registration import Outline

# Between a name and a state key; sorts before every character of a name.
_END = b"\0"
_AFTER_END = b"\1"
# A state key is an address behind its kind.
_KEY_LENGTHS = (1 + IPV4_BYTES, 1 + IPV6_BYTES)


class Found:
    """State keys that were found: how many, and the first of them in their order."""

    def __init__(self, count: int, keys: list[bytes]) -> None:
        self.count = count
        self.keys = keys


class Index:
    """State keys of registrations, by what they are asked for.

    Until it is first asked it only collects, which is how a million come in; then it is sorted.
    """

    def __init__(self) -> None:
        # What comes in until it is sorted; None afterwards.
        self._new: tuple[list[bytes], list[bytes]] | None = ([], [])
        # By their length: IPv4 addresses do not stand among those of IPv6.
        self._addresses: dict[int, SortedList[bytes]] = {}
        # The labels last first, and then the state key: what is below a domain stands together.
        self._names: SortedList[bytes] = SortedList()
        # By the holder's state key. Nearly every holder has one: that key alone.
        self._holders: dict[bytes, bytes | set[bytes]] = {}

    def settle(self) -> None:
        """Sorts what has come in."""
        if self._new is None:
            return
        addresses, names = self._new
        for length in _KEY_LENGTHS:
            self._addresses[length] = SortedList(key for key in addresses if len(key) == length)
        self._names = SortedList(names)
        self._new = None

    def add(self, key: bytes, outline: Outline) -> None:
        """Takes a registration that is not there."""
        name = _name(outline.host) + _END + key
        if self._new is not None:
            addresses, names = self._new
            addresses.append(key)
            names.append(name)
        else:
            self._addresses[len(key)].add(key)
            self._names.add(name)
        holder = state_key(Kind.HOLDER, outline.holder_id)
        found = self._holders.get(holder)
        if found is None:
            self._holders[holder] = key
        elif isinstance(found, bytes):
            self._holders[holder] = {found, key}
        else:
            found.add(key)

    def remove(self, key: bytes, outline: Outline) -> None:
        """Forgets a registration that is there."""
        self.settle()
        self._addresses[len(key)].remove(key)
        self._names.remove(_name(outline.host) + _END + key)
        holder = state_key(Kind.HOLDER, outline.holder_id)
        found = self._holders[holder]
        if isinstance(found, set) and len(found) > 1:
            found.discard(key)
        else:
            del self._holders[holder]

    @property
    def holders(self) -> int:
        """How many holders have registrations."""
        return len(self._holders)

    def between(self, first: bytes, last: bytes, limit: int) -> Found:
        """Those whose state keys stand from `first` to `last`; both of one length."""
        self.settle()
        addresses = self._addresses[len(first)]
        count = addresses.bisect_right(last) - addresses.bisect_left(first)
        return Found(count, list(islice(addresses.irange(first, last), limit)))

    def of_host(self, host: str, limit: int) -> Found:
        """Those of exactly this canonical name."""
        self.settle()
        name = _name(host)
        return self._named([(name + _END, name + _AFTER_END)], limit)

    def of_domain(self, domain: str, limit: int) -> Found:
        """Those whose host is this canonical name, or below it."""
        self.settle()
        name = _name(domain)
        # A slash comes after the dot, and stands in no name.
        return self._named([(name + _END, name + _AFTER_END), (name + b".", name + b"/")], limit)

    def of_holder(self, holder_id: bytes, limit: int) -> Found:
        """Those of a holder; in no order where there are more than `limit`."""
        found = self._holders.get(state_key(Kind.HOLDER, holder_id), ())
        if isinstance(found, bytes):
            return Found(1, [found])
        return Found(len(found), sorted(islice(found, limit)))

    def _named(self, ranges: list[tuple[bytes, bytes]], limit: int) -> Found:
        names = self._names
        count = sum(names.bisect_left(end) - names.bisect_left(begin) for begin, end in ranges)
        return Found(count, list(islice(_keys(names, ranges), limit)))


def _keys(names: SortedList[bytes], ranges: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for begin, end in ranges:
        for name in names.irange(begin, end, (True, False)):
            # Names hold no zero.
            yield name[name.index(_END) + 1 :]


def _name(host: str) -> bytes:
    return b".".join(reversed(host.encode("ascii").split(b".")))
