"""The replica in etcd, as a follower holds and writes it.

Records and cursor change in one transaction, fenced twice: by the cursor, against another
follower that writes the same generation, and by what makes the generation this follower's to
write (it is current; or the claim on it), against one that made another current.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from node.logging import get_logger
from registry.batch import Batch, Record, SignedState, outline_slot, parse_record
from registry.board import Board
from registry.checkpoint import Checkpoint
from registry.contact import Opening
from registry.content import check_stored
from registry.entry import Entry
from registry.errors import ForkError, MalformedError, VerificationError
from registry.kinds import Kind, Operation
from registry.merkle import CompactRange
from registry.replay import Replay, VerifiedBatch, VerifiedChange
from registry.state_tree import Location, StateProof, StateTree
from secondary.cursor import Cursor, Position
from secondary.etcd import EtcdStore
from secondary.etcd_values import Comparison, FenceLost, Put, Unchanged
from secondary.layout import Generation
from secondary.roots import Roots

_REGISTRATION: Final = int(Kind.REGISTRATION)
_BOARD_KINDS: Final = frozenset({int(Kind.ROOT), int(Kind.DECISION)})

_log = get_logger("replica")


@dataclass(frozen=True, slots=True)
class Stored:
    """The cursor in etcd, the position it proves, and the revision that wrote it."""

    cursor: Cursor
    position: Position
    revision: int


class Proved(NamedTuple):
    """The signed state of a log of `size`, and what it says of a key: where its record is.

    At `revision` etcd held that state; 0: not known.
    """

    signed_state: SignedState
    size: int
    proof: StateProof
    location: Location | None
    revision: int


class ReplicaDamagedError(VerificationError):
    """What a generation in etcd holds is not what the registry signed: it must be made anew.

    `stored` is its cursor, if that at least holds.
    """

    def __init__(self, generation: Generation, reason: str, stored: Stored | None = None) -> None:
        super().__init__(f"generation {generation.number} is damaged: {reason}")
        self.stored = stored


class Replica:
    """One generation, the state it holds, and the right to write it.

    The follower's thread writes; `holds` and `prove` may be called by any.
    """

    def __init__(
        self,
        store: EtcdStore,
        generation: Generation,
        guard: Comparison,
        roots: Roots,
        *,
        tree: StateTree,
        stored: Stored | None,
        board: Board,
    ) -> None:
        """Hold what `tree`, `stored`, `board` say, verified; None: a generation without cursor.

        `guard` holds while the generation is this follower's to write.
        """
        self.generation = generation
        self.guard = guard
        self._store = store
        self._roots = roots
        self._stored = stored
        self._tree = tree
        self._lock = threading.Lock()
        self._signed_state = stored.cursor.signed_state if stored else None
        # Of etcd, when it held what is held here; 0: not known.
        self._revision = stored.revision if stored else 0
        compact_range = stored.position.compact_range if stored else CompactRange.empty()
        serial = stored.position.state.zone_serial if stored else 0
        self._replay = Replay(board.with_chain(roots.chain), compact_range, tree, serial)

    @property
    def size(self) -> int:
        """The size of the log that is held."""
        return self._replay.size

    @property
    def root(self) -> bytes:
        """The root hash of the log that is held."""
        return self._replay.root

    @property
    def compact_range(self) -> CompactRange:
        """The compact range of the log that is held."""
        return self._replay.compact_range

    @property
    def live_keys(self) -> int:
        """How many records are held."""
        return self._tree.live

    @property
    def checkpoint(self) -> bytes:
        """The note of the checkpoint that is held; empty before the first batch."""
        return self._signed_state.checkpoint if self._signed_state else b""

    @property
    def stored(self) -> Stored | None:
        """What etcd held when it was last looked at."""
        return self._stored

    @property
    def board(self) -> Board:
        """What the board has decided so far."""
        board = self._replay.board
        assert board is not None
        return board

    def know_roots(self) -> None:
        """Let the roots hold that came from elsewhere than the log."""
        self._replay.know(self._roots.chain)

    def verify(self, batch: Batch) -> VerifiedBatch:
        """As `Replay.verify`."""
        return self._replay.verify(batch)

    def apply(self, verified: VerifiedBatch) -> None:
        """Store a batch that was verified here. Try again after EtcdUnavailable: it may be there.

        FenceLost: another follower was first; `catch_up` tells how far it is.
        """
        if self._stored is not None and verified.start < self._stored.position.checkpoint.size:
            self._compare(verified, self._stored.position)
            return
        freshness = self._stored.cursor.freshness if self._stored else b""
        cursor = Cursor(verified.signed_state, verified.compact_range.nodes, freshness)
        puts, deletes = _operations(self.generation, verified.changes)
        self._write(cursor, self._position_after(verified), puts, deletes)

    def advance(self, verified: VerifiedBatch) -> None:
        """Hold what was applied."""
        if verified.board is not None:
            self._roots.adopt(verified.board.chain)
        stored = self._stored
        # Another follower that is ahead has written this state at a revision that is not known.
        is_newest = stored is not None and stored.position.checkpoint.size == verified.size
        with self._lock:
            self._replay.advance(verified)
            self._signed_state = verified.signed_state
            self._revision = stored.revision if stored is not None and is_newest else 0

    def freshen(self, note: bytes) -> None:
        """Store a verified freshness note; FenceLost as in `apply`."""
        stored = self._stored
        if stored is None or stored.position.checkpoint.size > self.size:
            return
        if stored.cursor.freshness != note:
            self._write(replace(stored.cursor, freshness=note), stored.position, [], [])

    def catch_up(self) -> None:
        """After FenceLost: learn how far the other follower has brought this generation.

        Then batches that it has stored are only compared, and this follower is ready to go on
        where it stops. FenceLost again if the generation is no longer the one to write.
        """
        if not self._store.get(self.guard.key).meets(self.guard):
            raise FenceLost("the generation is no longer this follower's to write")
        stored, _ = read_cursor(self._store, self.generation, self._roots)
        if stored.position.checkpoint.size < self.size:
            raise FenceLost("the generation was put back")
        self._stored = stored

    def holds(self, state_key: bytes) -> bool:
        """Whether a record of this key is held; any thread may ask."""
        with self._lock:
            return self._tree.get(state_key) is not None

    def prove(self, state_key: bytes) -> Proved | None:
        """What is held and proved of a key; None before the first batch."""
        with self._lock:
            if self._signed_state is None:
                return None
            proof, location = self._tree.prove(state_key), self._tree.get(state_key)
            return Proved(self._signed_state, self.size, proof, location, self._revision)

    def _position_after(self, verified: VerifiedBatch) -> Position:
        compact_range = verified.compact_range
        checkpoint = Checkpoint(self._roots.name, verified.size, compact_range.root())
        return Position(checkpoint, verified.state, verified.time_ms, compact_range)

    def _write(
        self, cursor: Cursor, position: Position, puts: list[Put], deletes: list[bytes]
    ) -> None:
        key, value = self.generation.cursor, cursor.encode()
        fence = [self.guard, Unchanged(key, self._stored.revision if self._stored else 0)]
        try:
            revision = self._store.txn(fence, [*puts, (key, value)], deletes)
        except FenceLost:
            # An attempt that seemed to fail may have been carried out, and to have written
            # the very same is as good as having written it oneself.
            reading = self._store.get(key)
            if reading.value != value:
                raise
            revision = reading.mod_revision
        self._stored = Stored(cursor, position, revision)

    def _compare(self, verified: VerifiedBatch, position: Position) -> None:
        """Check that a batch which another follower stored is on the way to what it stored."""
        theirs = position.checkpoint
        if verified.size > theirs.size:
            raise FenceLost("another follower's batches end elsewhere")
        if verified.size == theirs.size and verified.compact_range.root() != theirs.root:
            assert self._stored is not None
            raise ForkError(verified.checkpoint, self._stored.cursor.signed_state.checkpoint)


def read_replica(
    store: EtcdStore, generation: Generation, roots: Roots
) -> tuple[Stored, StateTree, Board]:
    """What a generation holds now, computed from every record and compared with its cursor.

    Its roots come first, for they say which keys signed the cursor.

    ReplicaDamagedError, which tells what the cursor proves, if it proves anything. NewerLogError:
    a newer version has written it.
    """
    learn_roots(store, generation, roots)
    stored, revision = read_cursor(store, generation, roots)
    decided: list[bytes] = []
    try:
        tree = StateTree.build(_slots(store, generation, revision, decided))
    except MalformedError as error:
        raise ReplicaDamagedError(generation, str(error), stored) from error
    state = stored.position.state
    if (tree.live, tree.root) != (state.live_keys, state.state_root):
        raise ReplicaDamagedError(
            generation, f"{tree.live} records that are not the {state.live_keys} signed", stored
        )
    return stored, tree, restore_board(roots, decided)


def restore_board(roots: Roots, records: Iterable[bytes]) -> Board:
    """What the board has decided by these records; errors as of `Board.restore`."""
    decoded = [Record.decode(record) for record in records]
    entries = [(record.index, Entry.decode(record.entry)) for record in decoded]
    return Board.restore(roots.chain, entries)


def learn_roots(
    store: EtcdStore, generation: Generation, roots: Roots, revision: int | None = None
) -> None:
    """Know the roots that a generation holds, if they follow from those that are known."""
    if revision is None:
        revision = store.get(generation.cursor).revision
    notes = [
        parse_record(value)[1].payload
        for page in store.range_pages(generation.all_roots, revision)
        for _, value in page
    ]
    try:
        roots.take(notes)
    except VerificationError as error:
        _log.error("roots.refused", generation=generation.number, reason=str(error))


def read_cursor(store: EtcdStore, generation: Generation, roots: Roots) -> tuple[Stored, int]:
    """The cursor of a generation, verified, and the revision at which it was read.

    ReplicaDamagedError if there is none, or it does not hold.
    """
    reading = store.get(generation.cursor)
    if reading.value is None:
        raise ReplicaDamagedError(generation, "no cursor")
    try:
        cursor = Cursor.decode(reading.value)
        stored = Stored(cursor, cursor.open(roots), reading.mod_revision)
    except VerificationError as error:
        raise ReplicaDamagedError(generation, f"its cursor: {error}") from error
    return stored, reading.revision


def _slots(
    store: EtcdStore, generation: Generation, revision: int, decided: list[bytes]
) -> Iterator[bytes]:
    """The slots of all records; those of the board are put into `decided`."""
    others = (generation.cursor, generation.claim)
    for page in store.range_pages(generation.prefix, revision):
        for key, value in page:
            if key.startswith(generation.all_openings) or key in others:
                continue
            state_key, payload, slot = outline_slot(value)
            # The state root covers values only.
            if generation.record(state_key) != key:
                raise MalformedError(f"a record that belongs elsewhere at {key!r}")
            # Of registrations there are millions, and their readers look at each.
            if state_key[0] != _REGISTRATION:
                check_stored(state_key, payload, value)
            if state_key[0] in _BOARD_KINDS:
                decided.append(value)
            yield slot


def _operations(
    generation: Generation, changes: tuple[VerifiedChange, ...]
) -> tuple[list[Put], list[bytes]]:
    puts: list[Put] = []
    deletes: list[bytes] = []
    for change in changes:
        state_key = change.state_key
        if change.entry.operation == Operation.PUT:
            record = Record(change.index, change.entry_bytes).encode()
            puts += record_puts(generation, state_key, record, change.openings)
        else:
            deletes.append(generation.record(state_key))
        # There is nothing to delete beside a registration: openings are a holder's.
        if not change.openings and change.entry.kind != Kind.REGISTRATION:
            deletes.append(generation.openings(state_key))
    return puts, deletes


def record_puts(
    generation: Generation, state_key: bytes, record: bytes, openings: tuple[Opening, ...]
) -> Iterator[Put]:
    """What keeps a record in etcd: itself, encoded without openings; and these apart, if any."""
    yield generation.record(state_key), record
    if openings:
        yield generation.openings(state_key), Record(0, b"", openings).encode()
