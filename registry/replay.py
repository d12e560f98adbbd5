"""Replay: batches in, verified changes out. The one way into a replica.

Nothing is taken from a batch before its bytes are shown to be what the registry signed, and
nothing is changed by a batch that does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from registry.batch import Batch, LoggedEntry, Record, SignedState, read_state
from registry.board import Board
from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.contact import Opening
from registry.content import read_entry
from registry.entry import Entry
from registry.errors import (
    BoardError,
    MalformedError,
    RootMismatchError,
    SequenceError,
    SignatureError,
    StateMismatchError,
)
from registry.kinds import Kind, Operation
from registry.merkle import CompactRange, leaf_hash
from registry.note import Verifier
from registry.root_chain import RootChain
from registry.state import State, is_later
from registry.state_tree import StagedState, StateTree

# Kinds whose entries are never superseded: a decision that was restored must not come again.
_ONCE: Final = frozenset({Kind.ROOT, Kind.DECISION})


@dataclass(frozen=True, slots=True)
class VerifiedChange:
    """An entry at its index in the log, in its own bytes, with the openings beside it.

    A kind that this software does not know comes as any other, its payload opaque.
    """

    index: int
    entry: Entry
    entry_bytes: bytes
    openings: tuple[Opening, ...]

    @property
    def state_key(self) -> bytes:
        """The key that it changes."""
        return self.entry.state_key

    def record(self) -> Record:
        """The record that a put leaves, its openings included."""
        return Record(self.index, self.entry_bytes, self.openings)


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """A batch that holds in every respect, and all that follows from it.

    `start` and `size` are the sizes of the log before and after; `leaf_hashes` are of every
    entry, `changes` are the newest of each key, oldest first; `time_ms` is the state entry's.
    """

    start: int
    size: int
    checkpoint: bytes
    compact_range: CompactRange
    leaf_hashes: tuple[bytes, ...]
    signed_state: SignedState
    state: State
    time_ms: int
    changes: tuple[VerifiedChange, ...]
    staged: StagedState
    # Behind the batch; None in a log that has no board.
    board: Board | None = None


class Replay:
    """A position in the log and the state there; it moves on by verified batches only.

    `verify` changes nothing, so that a batch can be stored before `advance` takes it: then
    whoever crashes in between finds the store ahead, never behind. One thread at a time.
    """

    def __init__(
        self,
        keys: Verifier | Board,
        compact_range: CompactRange,
        tree: StateTree,
        zone_serial: int,
    ) -> None:
        """Start where these four stand; an empty log has serial 0. The tree becomes the replay's.

        The caller has verified them: against a snapshot's or a cursor's signed state. With a key
        instead of a board it is a log without one, whose roots and decisions are not judged.
        """
        self._keys = keys
        self._compact_range = compact_range
        self._tree = tree
        self._zone_serial = zone_serial

    @property
    def size(self) -> int:
        """The size of the log so far."""
        return self._compact_range.size

    @property
    def root(self) -> bytes:
        """The root hash of the log so far."""
        return self._compact_range.root()

    @property
    def compact_range(self) -> CompactRange:
        """The compact range of the log so far."""
        return self._compact_range

    @property
    def zone_serial(self) -> int:
        """The zones' serial so far; 0 before the first."""
        return self._zone_serial

    @property
    def board(self) -> Board | None:
        """The board as the log has it so far."""
        return self._keys if isinstance(self._keys, Board) else None

    def know(self, chain: RootChain) -> None:
        """Let roots hold that came before the log that has them; nothing in a log without board."""
        if isinstance(self._keys, Board):
            self._keys = self._keys.with_chain(chain)

    def verify(self, batch: bytes | Batch) -> VerifiedBatch:
        """Verify that this is the batch which comes next; nothing is changed.

        LimitError, MalformedError: not a batch that the protocol allows. SequenceError: a batch
        from elsewhere in the log, or a serial that does not rise. SignatureError: the log's key
        did not sign its checkpoint. BoardError, ThresholdError: the board did not sign a root or a
        decision in it, or not consent to a suspension. RootMismatchError: not the entries signed.
        NewerLogError: signed, but beyond this software. ProofError: a false opening.
        StateMismatchError: its changes do not lead to the state it states.
        """
        if not isinstance(batch, Batch):
            batch = Batch.decode(batch)
        self._check_start(batch)
        keys, checkpoint = self._open(batch)
        leaf_hashes = tuple([leaf_hash(logged.entry) for logged in batch.entries])
        before_closing = self._compact_range.extend(leaf_hashes[:-1])
        compact_range = before_closing.extend(leaf_hashes[-1:])
        _check_checkpoint(checkpoint, compact_range)
        # From here on the entries, though not their openings, are what the registry signed.
        changes, board = self._read_changes(batch, keys if isinstance(keys, Board) else None)
        closing, state = _read_closing(batch.entries[-1])
        self._check_serial(state)
        staged = self._stage(changes, leaf_hashes, batch.start)
        _check_state(state, staged)
        return VerifiedBatch(
            batch.start,
            batch.size,
            batch.checkpoint,
            compact_range,
            leaf_hashes,
            SignedState(
                batch.checkpoint, batch.entries[-1].entry, before_closing.next_audit_path()
            ),
            state,
            closing.time_ms,
            changes,
            staged,
            board,
        )

    def advance(self, verified: VerifiedBatch) -> None:
        """Go on behind a batch that was verified here, since the last time.

        StaleStateError, a caller's mistake: it was not.
        """
        self._tree.apply(verified.staged)
        self._compact_range = verified.compact_range
        self._zone_serial = verified.state.zone_serial
        if verified.board is not None:
            self._keys = verified.board

    def _open(self, batch: Batch) -> tuple[Verifier | Board, Checkpoint]:
        """The checkpoint, and the keys that it was signed by.

        A root is verified before any checkpoint: with one of its own, a batch may be the first
        that a new log key signed.
        """
        keys = self._keys
        try:
            return keys, open_checkpoint(batch.checkpoint, _checkpoint_keys(keys))
        except SignatureError:
            if not isinstance(keys, Board):
                raise
            chain = keys.chain.extend_all(_roots(batch))
            if chain.version == keys.chain.version:
                raise
            return keys.with_chain(chain), open_checkpoint(batch.checkpoint, chain)

    def _read_changes(
        self, batch: Batch, board: Board | None
    ) -> tuple[tuple[VerifiedChange, ...], Board | None]:
        """The newest change of each key, and the board behind them all."""
        newest: dict[bytes, VerifiedChange] = {}
        for index, logged in enumerate(batch.entries[:-1], batch.start):
            entry = read_entry(logged)
            if entry.kind == Kind.STATE:
                raise MalformedError(f"a state entry at {index}, before the end of its batch")
            state_key = entry.state_key
            if board is not None:
                if entry.kind in _ONCE and (state_key in newest or self._tree.get(state_key)):
                    raise BoardError(f"at {index}, a root or decision that is in the log already")
                board = board.after(entry)
            # Taken out first, so that what is left stands in the order of the log.
            newest.pop(state_key, None)
            newest[state_key] = VerifiedChange(index, entry, logged.entry, logged.openings)
        return tuple(newest.values()), board

    def _check_start(self, batch: Batch) -> None:
        if batch.start < self.size:
            raise SequenceError(f"a batch from {batch.start} again, the log is {self.size} long")
        if batch.start > self.size:
            raise SequenceError(f"a batch from {batch.start}, skipping {self.size} and on")

    def _check_serial(self, state: State) -> None:
        if not is_later(state.zone_serial, self._zone_serial):
            raise SequenceError(
                f"zone serial {state.zone_serial} does not follow {self._zone_serial} (RFC 1982)"
            )

    def _stage(
        self, changes: tuple[VerifiedChange, ...], leaf_hashes: tuple[bytes, ...], start: int
    ) -> StagedState:
        return self._tree.stage(
            {
                change.state_key: (change.index, leaf_hashes[change.index - start])
                if change.entry.operation == Operation.PUT
                else None
                for change in changes
            }
        )


def _checkpoint_keys(keys: Verifier | Board) -> CheckpointKeys:
    return keys.chain if isinstance(keys, Board) else keys


def _roots(batch: Batch) -> list[bytes]:
    """The roots in a batch, which nobody has verified yet."""
    entries = [Entry.decode(logged.entry) for logged in batch.entries]
    return [entry.payload for entry in entries if entry.kind == Kind.ROOT and entry.payload]


def _check_checkpoint(checkpoint: Checkpoint, compact_range: CompactRange) -> None:
    if checkpoint.size != compact_range.size:
        raise SequenceError(
            f"a checkpoint at {checkpoint.size} with a batch that ends at {compact_range.size}"
        )
    if checkpoint.root != compact_range.root():
        raise RootMismatchError(f"the entries do not lead to the root signed at {checkpoint.size}")


def _read_closing(logged: LoggedEntry) -> tuple[Entry, State]:
    closing = read_entry(logged)
    return closing, read_state(closing)


def _check_state(state: State, staged: StagedState) -> None:
    if state.live_keys != staged.live:
        raise StateMismatchError(
            f"the changes leave {staged.live} live keys, the state entry says {state.live_keys}"
        )
    if state.state_root != staged.root:
        raise StateMismatchError("the changes do not lead to the state root in the state entry")
