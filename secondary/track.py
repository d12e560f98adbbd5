"""A tail, and the thread that feeds it from a watch."""

from __future__ import annotations

import threading
from random import Random
from typing import Final, Generic, TypeVar

from node.retry import Backoff
from secondary.etcd import EtcdStore, Watch
from secondary.etcd_contact import EtcdContact
from secondary.etcd_values import EtcdCompacted, EtcdError
from secondary.tail import Tail
from secondary.view import View

V = TypeVar("V", bound=View)

# As long as gRPC itself waits between connections to etcd.
RETRY_MAX_SECONDS: Final = 2.0
# No revision is as high: etcd counts them in 64 bits with a sign.
NEVER: Final = 1 << 63


class Track(Generic[V]):
    """Follows etcd for as long as the tail can: through outages, not over gaps."""

    def __init__(
        self,
        tail: Tail[V],
        store: EtcdStore,
        contact: EtcdContact,
        news: threading.Event,
        random: Random,
        *,
        pause_seconds: float = 0.0,
    ) -> None:
        """`news` is set when the track has ended, or its generation is no longer current.

        With `pause_seconds` etcd is looked at that often, instead of being watched all the time.
        """
        self.tail = tail
        # Why it cannot go on; None while it can. EtcdCompacted: revisions are lost.
        self.ending: Exception | None = None
        self._store = store
        self._contact = contact
        self._news = news
        self._pause_seconds = pause_seconds
        self._backoff = Backoff(random, max_seconds=RETRY_MAX_SECONDS)
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._run, name="track", daemon=True)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the revision at hand; the view is written to no more."""
        self._stopping.set()
        self.watch_anew()
        if self._thread.is_alive():
            self._thread.join()

    def watch_anew(self) -> None:
        """Breaks the watch off, for the thread to begin another."""
        watch = self._watch
        if watch is not None:
            watch.cancel()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._pause_seconds:
                    self._look()
                    self._stopping.wait(self._pause_seconds)
                else:
                    self._check_continuity()
                    self._follow()
            except EtcdCompacted as error:
                self._end(error)
            except EtcdError as error:
                self._contact.failed(error)
                self._stopping.wait(self._backoff.next_delay())
            except Exception as error:  # noqa: BLE001 - a view must not fall behind unseen
                self._end(error)

    def _end(self, reason: Exception) -> None:
        self.ending = reason
        self._stopping.set()
        self._news.set()

    def _look(self) -> None:
        """Takes what was written since the last look."""
        tail = self.tail
        current, cursor = self._store.get(tail.current), self._store.get(tail.generation.cursor)
        self._contact.answered()
        newest = max(current.mod_revision, cursor.mod_revision)
        if newest > tail.revision:
            self._check_continuity()
            self._follow(newest)
        elif cursor.value != tail.cursor:
            raise _other_history(tail)

    def _check_continuity(self) -> None:
        """Makes sure that this is still the database whose revisions were counted."""
        tail = self.tail
        reading = self._store.get(tail.generation.cursor, tail.revision)
        self._contact.answered()
        if reading.value != tail.cursor:
            raise _other_history(tail)

    def _follow(self, last: int = NEVER) -> None:
        """Takes one revision after another, up to the `last`."""
        tail = self.tail
        with self._store.watch(tail.watched, tail.revision + 1) as watch:
            self._watch = watch
            # `stop` may have looked for a watch before there was one.
            if self._stopping.is_set():
                return
            for revision in watch:
                self._contact.answered()
                self._backoff.reset()
                tail.apply(revision)
                if tail.is_superseded:
                    self._news.set()
                if tail.revision >= last:
                    return


def _other_history(tail: Tail[V]) -> EtcdCompacted:
    return EtcdCompacted(f"etcd's history is not the one seen up to {tail.revision}")
