"""The state tree: one hash over the newest entry of every live key.

A key's slot is SHA-256(state key), its entry's log index and leaf hash. Slots are spread over
65,536 buckets by the first 16 bits of the key's hash and sorted within them; a Merkle tree
stands above the buckets. Its root proves a snapshot equal to a replay, that a record is
current, or that a key has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from registry.bucket_tree import BUCKETS, LEVELS, Nodes, new_bucket_tree
from registry.errors import MalformedError, ProofError
from registry.limits import HASH_BYTES
from registry.merkle import LEAF_PREFIX, NODE_PREFIX

INDEX_BYTES: Final = 8
SLOT_BYTES: Final = HASH_BYTES + INDEX_BYTES + HASH_BYTES

_BYTE_VALUES: Final = 256
_INDEX_END: Final = HASH_BYTES + INDEX_BYTES

# Where a live key's newest entry stands: its index in the log, and its leaf hash.
Location = tuple[int, bytes]


class StaleStateError(RuntimeError):
    """A caller's mistake: a staged state was applied after its tree had changed."""


@dataclass(frozen=True, slots=True)
class StagedState:
    """What a tree would become, by `StateTree.stage`; good until that tree changes."""

    root: bytes
    live: int
    _generation: object = field(repr=False)
    _buckets: dict[int, bytes] = field(repr=False)
    _nodes: Nodes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StateProof:
    """Shows what the state holds about one key.

    `bucket` is the key's whole bucket, `siblings` the 16 hashes beside its way to the root, the
    lowest first. MalformedError where the parts do not have their sizes.
    """

    bucket: bytes
    siblings: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.bucket) % SLOT_BYTES:
            raise MalformedError(f"a bucket of {len(self.bucket)} bytes")
        if [len(sibling) for sibling in self.siblings] != [HASH_BYTES] * LEVELS:
            raise MalformedError(f"a state proof has {LEVELS} siblings of {HASH_BYTES} bytes")


def slot(state_key: bytes, index: int, leaf_hash: bytes) -> bytes:
    """The slot of a live key whose newest entry is at `index` of the log with that leaf hash.

    MalformedError if that is no leaf hash.
    """
    return _slot(sha256(state_key).digest(), index, leaf_hash)


class StateTree:
    """The state of a log at one size. Not safe for use by several threads at once.

    Takes 72 bytes of memory a live key, and for the tree above the slots some 5 MB compiled, 15
    in pure Python.
    """

    __slots__ = ("_above", "_buckets", "_generation", "_live")

    def __init__(self) -> None:
        self._buckets = [b""] * BUCKETS
        self._live = 0
        self._generation = object()
        self._above = new_bucket_tree()

    @classmethod
    def build(cls, slots: Iterable[bytes]) -> StateTree:
        """The tree of these slots, in any order.

        MalformedError if one is not a slot or two are of the same key.
        """
        return cls.of_buckets(_fill(slots))

    @classmethod
    def of_buckets(cls, buckets: dict[int, bytes]) -> StateTree:
        """The tree of these buckets by number, the slots in each in order and of different keys."""
        tree = cls()
        live = sum(map(len, buckets.values())) // SLOT_BYTES
        tree.apply(tree._staged(live, buckets))
        return tree

    @property
    def live(self) -> int:
        """How many keys are live."""
        return self._live

    @property
    def root(self) -> bytes:
        """The state root."""
        return self._above.node(1)

    def get(self, state_key: bytes) -> Location | None:
        """Where the key's newest entry is; None if the key is not live."""
        key_hash = sha256(state_key).digest()
        return _find(self._buckets[_bucket_number(key_hash)], key_hash)

    def stage(self, changes: Mapping[bytes, Location | None]) -> StagedState:
        """The state after these changes (None: the key is live no longer), each key once.

        The tree stays as it is: what is staged may be dropped. MalformedError if a leaf hash
        is none.
        """
        buckets: dict[int, bytes] = {}
        live = self._live
        for state_key, location in changes.items():
            key_hash = sha256(state_key).digest()
            number = _bucket_number(key_hash)
            bucket = buckets.get(number)
            if bucket is None:
                bucket = self._buckets[number]
            changed = _replace(bucket, key_hash, location)
            live += (len(changed) - len(bucket)) // SLOT_BYTES
            buckets[number] = changed
        return self._staged(live, buckets)

    def apply(self, staged: StagedState) -> None:
        """Become what was staged; StaleStateError if the tree has changed since."""
        if staged._generation is not self._generation:
            raise StaleStateError("the state was staged on another tree than this one is now")
        for number, bucket in staged._buckets.items():
            self._buckets[number] = bucket
        self._above.apply(staged._nodes)
        self._live = staged.live
        self._generation = object()

    def prove(self, state_key: bytes) -> StateProof:
        """The proof of what the state holds about the key, be it nothing."""
        number = _bucket_number(sha256(state_key).digest())
        way = [(BUCKETS + number) >> level for level in range(LEVELS)]
        siblings = tuple([self._above.node(position ^ 1) for position in way])
        return StateProof(self._buckets[number], siblings)

    def _staged(self, live: int, buckets: dict[int, bytes]) -> StagedState:
        nodes: Nodes = self._above.stage(buckets)
        return StagedState(nodes.root, live, self._generation, buckets, nodes)


def verify_state(proof: StateProof, state_key: bytes, root: bytes) -> Location | None:
    """Where the key's newest entry is in the state of that root; None: it is not live.

    ProofError if the proof does not lead to the root.
    """
    key_hash = sha256(state_key).digest()
    number = _bucket_number(key_hash)
    node = sha256(LEAF_PREFIX + proof.bucket).digest()
    for level, sibling in enumerate(proof.siblings):
        pair = sibling + node if number >> level & 1 else node + sibling
        node = sha256(NODE_PREFIX + pair).digest()
    if node != root:
        raise ProofError("the proof does not lead to the state root")
    return _find(proof.bucket, key_hash)


def _slot(key_hash: bytes, index: int, leaf_hash: bytes) -> bytes:
    if len(leaf_hash) != HASH_BYTES:
        raise MalformedError(f"a leaf hash of {len(leaf_hash)} bytes")
    return key_hash + index.to_bytes(INDEX_BYTES) + leaf_hash


def _fill(slots: Iterable[bytes]) -> dict[int, bytes]:
    """The buckets that these slots fill."""
    # By the first byte into 256 long arrays: they keep no object for each slot, and seldom
    # move as they grow, where 65,536 short ones would at every slot.
    arrays = [bytearray() for _ in range(_BYTE_VALUES)]
    for entry in slots:
        if len(entry) != SLOT_BYTES:
            raise MalformedError(f"a slot of {len(entry)} bytes")
        arrays[entry[0]] += entry
    buckets: dict[int, bytes] = {}
    for first in reversed(range(_BYTE_VALUES)):
        for second, entries in enumerate(_spread(bytes(arrays.pop()))):
            if entries:
                buckets[first << 8 | second] = _bucket(entries)
    return buckets


def _spread(array: bytes) -> list[list[bytes]]:
    """The slots of an array by their second byte."""
    groups: list[list[bytes]] = [[] for _ in range(_BYTE_VALUES)]
    for at in range(0, len(array), SLOT_BYTES):
        entry = array[at : at + SLOT_BYTES]
        groups[entry[1]].append(entry)
    return groups


def _bucket(entries: list[bytes]) -> bytes:
    """The bucket with these slots; MalformedError if two are of one key."""
    if len({entry[:HASH_BYTES] for entry in entries}) != len(entries):
        raise MalformedError("two slots of one key")
    return b"".join(sorted(entries))


def _bucket_number(key_hash: bytes) -> int:
    return key_hash[0] << 8 | key_hash[1]


def _position(bucket: bytes, key_hash: bytes) -> int:
    """The offset of the first slot that is not before the key's."""
    low, high = 0, len(bucket) // SLOT_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * SLOT_BYTES
        if bucket[at : at + HASH_BYTES] < key_hash:
            low = middle + 1
        else:
            high = middle
    return low * SLOT_BYTES


def _find(bucket: bytes, key_hash: bytes) -> Location | None:
    at = _position(bucket, key_hash)
    if bucket[at : at + HASH_BYTES] != key_hash:
        return None
    index = int.from_bytes(bucket[at + HASH_BYTES : at + _INDEX_END])
    return index, bucket[at + _INDEX_END : at + SLOT_BYTES]


def _replace(bucket: bytes, key_hash: bytes, location: Location | None) -> bytes:
    """The bucket with the key's slot put in, exchanged or, for None, taken out."""
    at = _position(bucket, key_hash)
    rest = at + SLOT_BYTES if bucket[at : at + HASH_BYTES] == key_hash else at
    if location is None:
        return bucket[:at] + bucket[rest:]
    return bucket[:at] + _slot(key_hash, *location) + bucket[rest:]
