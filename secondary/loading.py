"""Loads a view from etcd at one revision, and serves nothing that the state root does not cover."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from registry.batch import outline_slot
from registry.errors import MalformedError, StateMismatchError
from registry.state import State
from registry.state_tree import StateTree
from secondary.etcd import EtcdStore
from secondary.layout import Generation, Layout, parse_number
from secondary.trust import Trust
from secondary.view import View

V = TypeVar("V", bound=View)


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
    store: EtcdStore, layout: Layout, trust: Trust, view: V, cancelled: threading.Event
) -> Loaded[V] | None:
    """Fills the empty `view` with the current generation; None while there is none.

    VerificationError: what etcd holds is not what the registry signed. EtcdError: etcd is away,
    or has compacted the revision meanwhile. Other threads go on in between; what they may not
    do is write to `view`.
    """
    current = store.get(layout.current)
    number = None if current.value is None else parse_number(current.value)
    if number is None:
        return None
    generation = layout.generation(number)
    cursor = store.get(generation.cursor, current.revision).value
    if cursor is None:
        raise MalformedError(f"generation {number} is current and has no cursor")
    standing = trust.open(cursor)
    with _gc_paused():
        pages = store.range_pages(generation.prefix, current.revision)
        tree = StateTree.build(_fill(view, pages, generation, cancelled))
        _check(tree, standing.position.state)
        del tree
    _return_memory()
    view.advance(standing)
    return Loaded(view, generation, current.revision, cursor)


def _fill(
    view: View,
    pages: Iterator[list[tuple[bytes, bytes]]],
    generation: Generation,
    cancelled: threading.Event,
) -> Iterator[bytes]:
    """Puts every record into the view; yields the slots of the state tree that they make."""
    own = (generation.cursor, generation.claim)
    openings = generation.all_openings
    for page in pages:
        if cancelled.is_set():
            raise LoadCancelledError
        for key, value in page:
            if key.startswith(openings):
                _put_openings(view, generation, key, value)
            elif key not in own:
                # Kept by what it says itself: the state root covers that, and not where it stood.
                state_key, payload, slot = outline_slot(value)
                view.put(state_key, payload, value)
                yield slot


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


def _return_memory() -> None:
    """Gives back what the pages and the state tree took: a third of the process, after a load."""
    # glibc keeps it otherwise; other C libraries have no such call and no such need.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
