"""Start-up: in a doubtful state the primary refuses to start; a fork is worse than an outage.

Database, checkpoint file and key must tell the same story. The one difference that a crash
leaves is a last transaction in the database whose checkpoint did not reach the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.errors import StorageError
from primary.board_changes import PublishRoot
from primary.checkpoint_file import CheckpointFile
from primary.draft import Draft
from primary.errors import DoubtfulStateError
from primary.ledger import Ledger
from primary.log_signer import LogSigner
from primary.rules import Moment, Policy
from primary.sealing import seal, sign
from primary.sequencer import Sequencer, SequencerStart
from primary.store.store import Store
from primary.store.values import Current, StoredHead
from registry.batch import read_state
from registry.board import Board
from registry.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from registry.content import check_stored
from registry.entry import Entry
from registry.errors import Problem, VerificationError
from registry.kinds import Kind
from registry.merkle import leaf_hash
from registry.state_tree import StateTree

# They are read when they are asked for.
_MANY: Final = frozenset({int(Kind.HOLDER), int(Kind.REGISTRATION)})


def open_sequencer(
    store: Store,
    signer: LogSigner,
    checkpoint_file: CheckpointFile,
    policy: Policy,
    clock: Callable[[], int],
) -> Sequencer:
    """A sequencer where the log stands, once all is shown to fit together; begins an empty log.

    DoubtfulStateError: it does not fit. SchemaError: not this program's database.
    ConfigurationError: another primary runs. StoreUnavailableError: the database refuses.
    """
    store.check_schema()
    checkpoint_file.lock()
    try:
        signer.restore(store.reader)
        start = _find_start(store, signer, checkpoint_file, clock)
    except BaseException:
        checkpoint_file.close()
        raise
    return Sequencer(store, signer, checkpoint_file, start, policy=policy, clock=clock)


def begin_board(sequencer: Sequencer, signer: LogSigner) -> None:
    """Puts the pinned root into a log that has none yet. Problem: it cannot be there."""
    if signer.board.version == 0:
        for committed in sequencer.commit([PublishRoot(note) for note in signer.chain.notes]):
            for outcome in committed.outcomes:
                if isinstance(outcome, Problem):
                    raise outcome


def check_log(store: Store, signer: LogSigner, checkpoint_file: CheckpointFile) -> None:
    """All the checks of a start, without starting; errors as of `open_sequencer`."""
    store.check_schema()
    signer.restore(store.reader)
    stored = store.reader.head()
    signed = _read_checkpoint(checkpoint_file, signer)
    _check_signed(stored, signed)
    if stored.size:
        _check_last_entries(store, stored)
        _check_understood(store)
        _load_tree(store, stored)


def _find_start(
    store: Store, signer: LogSigner, checkpoint_file: CheckpointFile, clock: Callable[[], int]
) -> SequencerStart:
    stored = store.reader.head()
    signed = _read_checkpoint(checkpoint_file, signer)
    _check_signed(stored, signed)
    if stored.size == 0:
        if signed is None:
            # Before the log: a crash in between must not look like a checkpoint that was lost.
            nothing = Checkpoint(signer.name, 0, stored.root)
            checkpoint_file.write(sign_checkpoint(nothing, signer))
        stored, tree = _begin_log(store, clock, signer.board), StateTree()
    else:
        _check_last_entries(store, stored)
        _check_understood(store)
        tree = _load_tree(store, stored)
    head = sign(stored, signer)
    if signed is None or signed.size < stored.size:
        checkpoint_file.write(head.checkpoint)
    return SequencerStart(stored, head, tree)


def _begin_log(store: Store, clock: Callable[[], int], board: Board) -> StoredHead:
    """Commits the first batch: the state entry of a log that holds nothing.

    So every log has a checkpoint, and no record is at index 0, which stands for "any version".
    """
    empty = store.reader.head()
    time_ms = clock()
    ledger = Ledger(Current({}, {}, {}, {}), board, time_ms)
    draft = Draft(0, Moment(time_ms, Policy(), bytes), ledger)
    sealed = seal(empty, empty, draft, ledger, StateTree())
    with store.writer.transaction() as transaction:
        transaction.append(empty, sealed.after, ledger.rows())
    return sealed.after


def _read_checkpoint(checkpoint_file: CheckpointFile, signer: LogSigner) -> Checkpoint | None:
    """The last checkpoint that this key signed; None if there is none."""
    try:
        note = checkpoint_file.read()
    except StorageError as error:
        raise DoubtfulStateError(
            f"{error}: restore it, or find the largest checkpoint that the mirrors hold"
        ) from error
    if note is None:
        return None
    try:
        return open_checkpoint(note, signer.chain)
    except VerificationError as error:
        raise DoubtfulStateError(
            f"{checkpoint_file.path} was not signed by the key of {signer.name} in use ({error}): "
            "use the key that belongs to this log"
        ) from error


def _check_signed(stored: StoredHead, signed: Checkpoint | None) -> None:
    """The last checkpoint signed must be of this log: at its end, or one transaction before."""
    if signed is None:
        if stored.size:
            raise DoubtfulStateError(
                f"the log has {stored.size} entries, but the file of its last checkpoint is "
                "missing: restore it, or this log may already have been signed further"
            )
        return
    if signed.size > stored.size:
        raise DoubtfulStateError(
            f"a checkpoint of size {signed.size} was signed, but the database holds "
            f"{stored.size} entries: it is an older copy or another database; use the newest"
        )
    known = {each.size: each.root() for each in (stored.previous, stored.compact_range)}
    if signed.size not in known:
        raise DoubtfulStateError(
            f"the database holds {stored.size} entries, but the last checkpoint signed is of size "
            f"{signed.size}, more than a crash leaves behind: restore the newest checkpoint file"
        )
    if signed.root != known[signed.size]:
        raise DoubtfulStateError(
            f"the database holds another log than the one that was signed at size {signed.size}: "
            "use the database that belongs to this checkpoint file"
        )


def _check_last_entries(store: Store, stored: StoredHead) -> None:
    """The last entries must be those that the head was made of."""
    start = stored.previous.size
    # One more than there may be, so that an entry beyond the head is noticed.
    entries = store.reader.entries(start, stored.size - start + 1)
    after = stored.previous.extend([leaf_hash(entry) for entry in entries])
    if after != stored.compact_range:
        raise DoubtfulStateError(
            f"the entries from {start} on are not those of the log's head: the database is damaged"
        )
    try:
        state = read_state(Entry.decode(entries[-1]))
    except VerificationError as error:
        raise DoubtfulStateError(f"the log does not end in a state entry: {error}") from error
    if state != stored.state:
        raise DoubtfulStateError("the log's last state entry is not the head's: damaged database")


def _check_understood(store: Store) -> None:
    """What a newer version wrote, this one may have to understand before it writes more."""
    for kind in store.reader.kinds():
        if kind in _MANY:
            continue
        for key, record in store.reader.records_of(kind):
            try:
                check_stored(key, Entry.decode(record.entry).payload, record.encode())
            except VerificationError as error:
                raise DoubtfulStateError(
                    f"this is no database for this version: {error}"
                ) from error


def _load_tree(store: Store, stored: StoredHead) -> StateTree:
    tree = StateTree.build(store.reader.slots())
    if stored.state is None or (tree.root, tree.live) != (
        stored.state.state_root,
        stored.state.live_keys,
    ):
        raise DoubtfulStateError(
            f"the {tree.live} records in the database are not those of the log's state: "
            "the database is damaged, restore it"
        )
    return tree
