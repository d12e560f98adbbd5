"""Keeps a loaded view up with its generation in etcd, one revision after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from node.logging import get_logger
from registry.batch import outline_record
from registry.content import check_stored
from registry.errors import ForkError, MalformedError, SequenceError
from registry.state import is_later
from secondary.cursor import Cursor
from secondary.etcd_values import Revision
from secondary.layout import Layout, Place, Section
from secondary.loading import Loaded
from secondary.trust import BOARD_KINDS, Trust
from secondary.view import Standing, View

V = TypeVar("V", bound=View)

_log = get_logger("reader")


class _Change(NamedTuple):
    """What becomes of one key of the generation; `value` None: it goes."""

    place: Place
    value: bytes | None
    # Of a record that is put.
    payload: bytes = b""


class Tail(Generic[V]):
    """Applies to the view what moves its generation's cursor on, and nothing else.

    For one thread, which is the only one to write to the view from now on; its attributes may
    be read by any.
    """

    def __init__(self, loaded: Loaded[V], layout: Layout, trust: Trust) -> None:
        self.view = loaded.view
        self.generation = loaded.generation
        # The last revision that was looked at, and the cursor as it stood there.
        self.revision = loaded.revision
        self.cursor = loaded.cursor
        # Whether another generation is current by now.
        self.is_superseded = False
        # Revisions that changed this generation, while it was current, without its cursor.
        self.strange_revisions = 0
        # Whether the board has changed how long the view is served since it was loaded.
        self.has_new_limit = False
        self._layout = layout
        self._trust = trust

    @property
    def standing(self) -> Standing:
        """How far in the log the view is."""
        return self.view.standing

    @property
    def note(self) -> bytes:
        """The signed checkpoint of that position."""
        return _note(self.cursor)

    @property
    def watched(self) -> bytes:
        """The prefix of all keys whose changes have to be applied."""
        return self._layout.all

    @property
    def current(self) -> bytes:
        """The key that says which generation is current."""
        return self._layout.current

    def apply(self, revision: Revision) -> None:
        """Takes what one etcd transaction did.

        VerificationError: the cursor moved in a way that the registry did not sign, so that the
        view cannot follow; it stays as it was, and has to be loaded again.
        """
        changes: list[_Change] = []
        cursor: bytes | None = None
        for key, value in revision.events:
            place = self.generation.place(key)
            if place is None:
                self._look_for_flip(key, value)
            elif place.section is Section.CURSOR:
                cursor = value
            elif place.section is not Section.CLAIM:
                changes.append(_Change(place, value))
        if cursor is not None:
            self._advance(cursor, changes)
        elif changes:
            self._ignore(revision, changes)
        self.revision = revision.number

    def _look_for_flip(self, key: bytes, value: bytes | None) -> None:
        if key == self._layout.current:
            self.is_superseded = value != self.generation.name

    def _ignore(self, revision: Revision, changes: list[_Change]) -> None:
        """Records changed without the cursor: an old generation is deleted, or a stranger wrote."""
        if self.is_superseded:
            return
        self.strange_revisions += 1
        _log.error(
            "revision.strange",
            revision=revision.number,
            changes=len(changes),
            first=self.generation.record(changes[0].place.state_key).decode(),
            advice="somebody else writes to the replica in etcd; what it held is still served",
        )

    def _advance(self, cursor: bytes, changes: list[_Change]) -> None:
        self._trust.learn(_of_the_board(changes))
        standing = self._trust.open(cursor)
        before, after = self.standing.position.checkpoint, standing.position.checkpoint
        if after.size < before.size:
            raise SequenceError(f"the cursor went back from {before.size} to {after.size}")
        if after.size == before.size and after.root != before.root:
            raise ForkError(self.note, _note(cursor))
        serial = standing.position.state.zone_serial
        if after.size > before.size and not is_later(
            serial, self.standing.position.state.zone_serial
        ):
            raise SequenceError(f"the zone serial {serial} is not later than the one before")
        # All are read before the first is taken: what is malformed changes nothing.
        ready = [_ready(change, range(before.size, after.size)) for change in changes]
        for change in ready:
            self._take(change)
        self.has_new_limit |= standing.staleness != self.standing.staleness
        self.view.advance(
            replace(standing, vouched_s=max(standing.vouched_s, self.standing.vouched_s))
        )
        self.cursor = cursor

    def _take(self, change: _Change) -> None:
        key, is_record = change.place.state_key, change.place.section is Section.RECORD
        if change.value is None:
            (self.view.remove if is_record else self.view.remove_openings)(key)
        elif is_record:
            self.view.put(key, change.payload, change.value)
        else:
            self.view.put_openings(key, change.value)


def _of_the_board(changes: list[_Change]) -> list[bytes]:
    """The roots and decisions: they say who signed the cursor, and how long it is served."""
    return [
        change.value
        for change in changes
        if change.value is not None
        and change.place.section is Section.RECORD
        and change.place.state_key[0] in BOARD_KINDS
    ]


def _ready(change: _Change, new: range) -> _Change:
    """The change, its record read and found to be one that the `new` entries of the log hold."""
    if change.place.section is not Section.RECORD:
        return change
    if not new:
        raise SequenceError("a record changed and the log did not grow")
    if change.value is None:
        return change
    index, state_key, _, payload = outline_record(change.value)
    if state_key != change.place.state_key:
        raise MalformedError("a record stands at the key of another")
    if index not in new:
        raise SequenceError(f"a record of index {index} came with the entries {new}")
    check_stored(state_key, payload, change.value)
    return change._replace(payload=payload)


def _note(cursor: bytes) -> bytes:
    return Cursor.decode(cursor).signed_state.checkpoint
