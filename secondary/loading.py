"""Loads a view from etcd at one revision, or from a file that another load left.

Nothing is served that the state root does not cover.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from node.logging import get_logger
from registry.batch import outline_slot
from registry.content import check_stored
from registry.errors import MalformedError, StateMismatchError, VerificationError
from registry.state import State
from registry.state_tree import StateTree
from secondary.etcd import EtcdStore
from secondary.layout import Generation, Layout
from secondary.table_file import TableHead, TableReader, TableWriter
from secondary.trust import Trust
from secondary.view import BulkView, View

V = TypeVar("V", bound=View)

# Half a millisecond's work, in which no other thread has the interpreter.
_RECORDS_AT_ONCE: Final = 256

_log = get_logger("reader")


class LoadCancelledError(Exception):
    """The caller wants the process to end."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[V]):
    """A view of all that `generation` held at `revision`, verified; `cursor` as it stood there."""

    view: V
    generation: Generation
    revision: int
    cursor: bytes


def load(
    store: EtcdStore,
    layout: Layout,
    trust: Trust,
    view: V,
    cancelled: threading.Event,
    *,
    table_file: Path | None = None,
) -> Loaded[V] | None:
    """Fills the empty `view` with the current generation; None while there is none.

    What was loaded is left in `table_file`. VerificationError: what etcd holds is not what the
    registry signed; OutdatedError: a newer version wrote it. EtcdError: etcd is away, or has
    compacted the revision meanwhile. Other threads go on in between; what they may not do is write
    to `view`.
    """
    current = store.get(layout.current)
    generation = layout.served(current.value)
    if generation is None or generation.is_outdated:
        return None
    number = generation.number
    _learn(trust, _of_the_board(store, generation, current.revision), generation.number)
    cursor = store.get(generation.cursor, current.revision).value
    if cursor is None:
        raise MalformedError(f"generation {number} is current and has no cursor")
    pages = store.range_pages(generation.prefix, current.revision)
    loaded = Loaded(view, generation, current.revision, cursor)
    if table_file is None:
        _load(loaded, trust, _records(view, pages, generation), cancelled)
    else:
        head = TableHead(number, current.revision, cursor, trust.decided)
        with TableWriter(table_file, head) as writer:
            records = _written(writer, _records(view, pages, generation))
            _load(loaded, trust, records, cancelled)
            writer.keep()
    return loaded


def load_file(
    path: Path, layout: Layout, trust: Trust, view: V, cancelled: threading.Event
) -> Loaded[V] | None:
    """Fills the empty `view` with what was last loaded from etcd; None if there is no such file.

    VerificationError: it is not what the registry signed. OSError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        reader = TableReader(file)
        head = reader.head
        _learn(trust, head.decided, head.generation)
        loaded = Loaded(view, layout.generation(head.generation), head.revision, head.cursor)
        _load(loaded, trust, iter(reader), cancelled)
    return loaded


def _of_the_board(store: EtcdStore, generation: Generation, revision: int) -> Iterator[bytes]:
    for prefix in (generation.all_roots, generation.all_decisions):
        for page in store.range_pages(prefix, revision):
            yield from (value for _, value in page)


def _learn(trust: Trust, records: Iterable[bytes], generation: int) -> None:
    """Know the board's roots and decisions, if they follow from what is known."""
    try:
        trust.learn(records)
    except VerificationError as error:
        _log.error("roots.refused", generation=generation, reason=str(error))


def _load(
    loaded: Loaded[V], trust: Trust, pages: Iterator[list[bytes]], cancelled: threading.Event
) -> None:
    """Fills the view with the records in these pages, and checks that they are all there are."""
    standing = trust.open(loaded.cursor)
    with _gc_paused():
        tree = _tree(loaded.view, pages, cancelled)
        _check(tree, standing.position.state)
        del tree
    loaded.view.advance(standing)


def _tree(view: View, pages: Iterator[list[bytes]], cancelled: threading.Event) -> StateTree:
    """Puts every record into the view; the state tree that they make."""
    if not isinstance(view, BulkView):
        return StateTree.build(_fill(view, pages, cancelled))
    load = view.bulk_load()
    for page in pages:
        for begin in range(0, len(page), _RECORDS_AT_ONCE):
            if cancelled.is_set():
                raise LoadCancelledError
            load.take(page[begin : begin + _RECORDS_AT_ONCE])
    return StateTree.of_buckets(load.buckets())


def _fill(view: View, pages: Iterator[list[bytes]], cancelled: threading.Event) -> Iterator[bytes]:
    """The same one by one; yields the slots."""
    for page in pages:
        if cancelled.is_set():
            raise LoadCancelledError
        for record in page:
            # Kept by what it says itself: the state root covers that, and not where it stood.
            state_key, payload, slot = outline_slot(record)
            check_stored(state_key, payload, record)
            view.put(state_key, payload, record)
            yield slot


def _records(
    view: View, pages: Iterator[list[tuple[bytes, bytes]]], generation: Generation
) -> Iterator[list[bytes]]:
    """The records of a generation; its openings go into the view on the way."""
    own = (generation.cursor, generation.claim)
    openings = generation.all_openings
    for page in pages:
        records = []
        for key, value in page:
            if key.startswith(openings):
                _put_openings(view, generation, key, value)
            elif key not in own:
                records.append(value)
        yield records


def _written(writer: TableWriter, pages: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    for page in pages:
        writer.add(page)
        yield page


def _put_openings(view: View, generation: Generation, key: bytes, value: bytes) -> None:
    # Openings are outside the state root; whoever shows one checks it against its commitment.
    place = generation.place(key)
    if place is not None:
        view.put_openings(place.state_key, value)


def _check(tree: StateTree, state: State) -> None:
    if tree.live != state.live_keys:
        raise StateMismatchError(
            f"etcd holds {tree.live} records of a state of {state.live_keys} live keys"
        )
    if tree.root != state.state_root:
        raise StateMismatchError("the records in etcd do not lead to the signed state root")


@contextmanager
def _gc_paused() -> Iterator[None]:
    """No collections while millions of objects are made that all stay, nor over them later."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
