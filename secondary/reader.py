"""Keeps a view of the replica in etcd: loads it, follows it, and replaces it when in doubt.

A view is loaded at one revision and checked against the signed state root; a watch from the next
revision on keeps it up. Whenever the watch is broken beyond repair, another generation becomes
current, or the time for a check has come, another view is loaded beside the one that serves, and
takes its place once it is as far. Nothing that fails its checks ever serves; what serves stays
while etcd is away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Generic, TypeVar

from prometheus_client import Histogram

from node.allocator import return_memory
from node.logging import get_logger
from node.retry import Backoff
from registry.errors import ForkError, VerificationError
from secondary.etcd_contact import EtcdContact
from secondary.etcd_values import EtcdCompacted, EtcdError
from secondary.loading import LoadCancelledError, Loaded, load, load_file
from secondary.notice import Condition
from secondary.notice_reader import NoticeReader
from secondary.reader_values import Cause, ReaderCounts, Source
from secondary.tail import Tail
from secondary.track import RETRY_MAX_SECONDS, Track
from secondary.trust import Trust
from secondary.view import Standing, View

V = TypeVar("V", bound=View)

# How often etcd is asked whether it is there, and whether the watch has missed anything.
POLL_SECONDS: Final = 5.0
# How soon a replica that cannot be used yet is looked at again.
UNUSABLE_SECONDS: Final = 0.25
# A load that failed its checks costs as much as one that did not: not more often than this.
REFUSED_FIRST_SECONDS: Final = 1.0
REFUSED_MAX_SECONDS: Final = 300.0
CATCH_UP_SECONDS: Final = 0.02
# What was loaded is behind by what was written meanwhile; longer than this it has another reason.
BEHIND_SECONDS: Final = 5.0
# The processes of a node that started together do not load together for ever.
CHECK_JITTER: Final = 0.2
STOP_SECONDS: Final = 5.0

_log = get_logger("reader")


class Reader(Generic[V]):
    """Owns the thread that loads views, and gives the one that serves."""

    def __init__(
        self,
        source: Source,
        new_view: Callable[[], V],
        *,
        recheck_seconds: float,
        random: Random,
        table_file: Path | None = None,
        pause_seconds: float = 0.0,
        max_silence_seconds: float | None = None,
    ) -> None:
        """`new_view` makes an empty view; every load fills a fresh one.

        What is loaded is left in `table_file`, and served after a restart until etcd was read.
        A view is kept up by a watch; with `pause_seconds` by a look that often, which costs less.
        With `max_silence_seconds` a view is stale after so long, whatever the board has decided.
        """
        self.counts = ReaderCounts()
        self.contact = EtcdContact()
        self._notice = NoticeReader(
            source.store, source.layout, source.roots, source.extension_file
        )
        self._max_silence_seconds = max_silence_seconds
        # How many revisions etcd was ahead when it was last asked.
        self.revision_lag = 0
        self._polled_revision = 0
        self._source = source
        self._new_view = new_view
        self._recheck_seconds = recheck_seconds
        self._random = random
        self._table_file = table_file
        self._pause_seconds = pause_seconds
        self._serving: Track[V] | None = None
        self._stopping = threading.Event()
        # Set whenever there may be something to attend to before the next poll.
        self._news = threading.Event()
        self._check_requested = False
        self._etcd_backoff = Backoff(random, max_seconds=RETRY_MAX_SECONDS)
        self._refused_backoff = Backoff(random, REFUSED_FIRST_SECONDS, REFUSED_MAX_SECONDS)
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    @property
    def view(self) -> V | None:
        """The view to serve from; None until the first was loaded, and never again after."""
        serving = self._serving
        return None if serving is None else serving.tail.view

    @property
    def condition(self) -> Condition:
        """What the view is worth now."""
        return self.condition_at(time.time())

    def condition_at(self, now_s: float) -> Condition:
        """What the view is worth at a time, by what is known of the log elsewhere."""
        known, view = self._notice.known, self.view
        if view is None:
            return Condition.GOOD
        standing = view.standing
        if now_s > self.answers_until_s(standing):
            return Condition.STALE
        return known.condition(standing.position.checkpoint.size)

    def answers_until_s(self, standing: Standing) -> float:
        """Until when a view that stands there is served, in seconds since 1970."""
        if self._max_silence_seconds is not None:
            return standing.vouched_s + self._max_silence_seconds
        staleness = standing.staleness.extended(self._notice.known.answers_until_s)
        return staleness.ends_s(standing.vouched_s)

    @property
    def etcd_times(self) -> Histogram:
        """How long etcd took to answer."""
        return self._source.store.times

    @property
    def good_view(self) -> V | None:
        """The view, if there is nothing to be said with its answers."""
        return self.view if self.condition is Condition.GOOD else None

    @property
    def strange_revisions(self) -> int:
        """Revisions that changed the served generation without moving its cursor."""
        serving = self._serving
        return self.counts.strange + (serving.tail.strange_revisions if serving else 0)

    def start(self) -> None:
        """Begins to load."""
        self._thread.start()

    def stop(self) -> None:
        """Ends loading and following; the view stays as it is."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._serving is not None:
            self._serving.stop()

    def request_check(self) -> None:
        """Has the replica loaded afresh, checked and compared, as happens from time to time."""
        self._check_requested = True
        self._news.set()

    def _run(self) -> None:
        cause = Cause.START
        if self._load_file():
            cause = self._attend()
        while not self._stopping.is_set():
            current = self._current_revision()
            delay = self._renew(cause)
            if delay is not None:
                self._wait(delay, current)
            elif not self._stopping.is_set():
                self._etcd_backoff.reset()
                self._refused_backoff.reset()
                cause = self._attend()

    def _wait(self, seconds: float, current: int) -> None:
        """Waits so long, or until another generation is current than at revision `current`."""
        due = time.monotonic() + seconds
        while (left := due - time.monotonic()) > 0:
            if self._stopping.wait(min(left, POLL_SECONDS)):
                return
            if self._current_revision() != current:
                return

    def _current_revision(self) -> int:
        """When a generation became current; 0 if none is, or etcd does not tell."""
        try:
            return self._source.store.get(self._source.layout.current).mod_revision
        except EtcdError as error:
            self.contact.failed(error)
            return 0

    def _renew(self, cause: Cause) -> float | None:
        """Loads a view and has it take over; the seconds to wait before the next try, if any."""
        try:
            track = self._load(cause)
            if track is None:
                return UNUSABLE_SECONDS
            if not self._take_over(track):
                return UNUSABLE_SECONDS
        except LoadCancelledError:
            return None
        except EtcdError as error:
            self.contact.failed(error)
            return self._etcd_backoff.next_delay()
        except Exception as error:  # noqa: BLE001 - whatever it is, the last good view serves on
            self._refuse(error, cause)
            return self._refused_backoff.next_delay()
        self.counts.loads += 1
        return None

    def _load_file(self) -> bool:
        """Serves what was loaded before the restart; its track tells whether etcd goes on from it.

        False if there is no such file, or none that can be used.
        """
        path, started = self._table_file, time.monotonic()
        if path is None:
            return False
        source, trust = self._source, self._trust()
        try:
            loaded = load_file(path, source.layout, trust, self._new_view(), self._stopping)
        except LoadCancelledError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever it holds, there is etcd to read from
            _log.warning("table_file.refused", file=str(path), reason=str(error))
            return False
        if loaded is None:
            return False
        return_memory()
        self._serving = self._track(loaded, trust, "table file", started)
        self._serving.start()
        return True

    def _load(self, cause: Cause) -> Track[V] | None:
        source, trust, started = self._source, self._trust(), time.monotonic()
        loaded = load(
            source.store,
            source.layout,
            trust,
            self._new_view(),
            self._stopping,
            table_file=self._table_file,
        )
        self.contact.answered()
        if loaded is None:
            return None
        # Pages and state tree: half of the process, after a load.
        return_memory()
        self._notice.look()
        track = self._track(loaded, trust, cause.value, started)
        self._compare(loaded.view)
        return track

    def _trust(self) -> Trust:
        return Trust(self._source.roots)

    def _track(self, loaded: Loaded[V], trust: Trust, cause: str, started: float) -> Track[V]:
        """Goes on from what was loaded, with what was learnt of the board on the way."""
        _log.info(
            "replica.loaded",
            cause=cause,
            generation=loaded.generation.number,
            size=loaded.view.standing.position.checkpoint.size,
            records=loaded.view.standing.position.state.live_keys,
            seconds=round(time.monotonic() - started, 3),
        )
        tail = Tail(loaded, self._source.layout, trust)
        return Track(
            tail,
            self._source.store,
            self.contact,
            self._news,
            self._random,
            pause_seconds=self._pause_seconds,
        )

    def _compare(self, fresh: V) -> None:
        """Says so if the view that serves is not what it should be at its own size of the log."""
        served = self.view
        if served is None:
            return
        size = served.standing.position.checkpoint.size
        same = served.agrees_with(fresh)
        # While it moves on there is nothing to compare: the next check may find it at rest.
        at_rest = size == served.standing.position.checkpoint.size
        if at_rest and size == fresh.standing.position.checkpoint.size and not same:
            self.counts.diverged += 1
            _log.error("view.diverged", size=size, advice="the view just loaded takes its place")

    def _take_over(self, track: Track[V]) -> bool:
        """Lets `track` catch up with what serves, and puts it in its place.

        False if it has to be loaded anew instead. ForkError: it is of another log.
        """
        served = self._serving
        track.start()
        if served is not None and not self._catch_up(track, served):
            track.stop()
            return False
        if served is not None and _contradict(track, served):
            track.stop()
            raise ForkError(served.tail.note, track.tail.note)
        self._serving = track
        if served is not None:
            served.tail.view.retire()
            served.stop()
            self.counts.strange += served.tail.strange_revisions
        return True

    def _catch_up(self, track: Track[V], served: Track[V]) -> bool:
        """Waits until `track` is as far as what serves; False if that makes no sense any more."""
        patience = time.monotonic() + BEHIND_SECONDS
        while _size(track) < _size(served):
            if track.ending is not None or track.tail.is_superseded:
                return False
            if time.monotonic() > patience:
                self.counts.behind += 1
                _log.warning("replica.behind", size=_size(track), served=_size(served))
                patience = math.inf
            if self._stopping.wait(CATCH_UP_SECONDS):
                raise LoadCancelledError
        return True

    def _refuse(self, error: Exception, cause: Cause) -> None:
        """What etcd holds is not what the registry signed; or, worse, this program is at fault."""
        self.counts.refused += 1
        _log.error(
            "replica.refused",
            cause=cause.value,
            error=type(error).__name__,
            reason=str(error),
            serving=self.view is not None,
            exc_info=None if isinstance(error, VerificationError) else error,
        )

    def _attend(self) -> Cause:
        """Waits until another view has to be loaded, and asks for etcd meanwhile."""
        jitter = self._random.uniform(1 - CHECK_JITTER, 1 + CHECK_JITTER)
        check_due = time.monotonic() + self._recheck_seconds * jitter
        poll_due = time.monotonic() + POLL_SECONDS
        serving, is_first = self._serving, True
        assert serving is not None
        while not self._stopping.is_set():
            self._news.wait(max(0.0, min(poll_due, check_due) - time.monotonic()))
            self._news.clear()
            if isinstance(serving.ending, EtcdCompacted):
                _log.warning("watch.lost", reason=str(serving.ending))
                return Cause.LOST
            if serving.ending is not None:
                self._refuse(serving.ending, Cause.REFUSED)
                return Cause.REFUSED
            if serving.tail.is_superseded:
                return Cause.FLIP
            # The table file has to know it: a restart may come while etcd is away.
            is_outdated = self._table_file is not None and serving.tail.has_new_limit
            if self._check_requested or is_outdated or time.monotonic() >= check_due:
                self._check_requested = False
                return Cause.CHECK
            if time.monotonic() >= poll_due:
                self._poll(serving)
                if is_first:
                    # By now nobody answers from the view before this one any more.
                    return_memory()
                    is_first = False
                poll_due = time.monotonic() + POLL_SECONDS
        return Cause.START

    def _poll(self, serving: Track[V]) -> None:
        """Learns whether etcd is there; has a watch that fell silent begin anew."""
        seen = serving.tail.revision
        try:
            reading = self._source.store.get(serving.tail.generation.cursor)
            self._notice.look()
        except EtcdError as error:
            self.contact.failed(error)
            return
        self.contact.answered()
        was_behind = self.revision_lag > 0
        self.revision_lag = max(0, reading.mod_revision - seen)
        if was_behind and self.revision_lag > 0 and seen == self._polled_revision:
            _log.warning("watch.silent", revision=seen, newest=reading.mod_revision)
            serving.watch_anew()
        self._polled_revision = seen


def _size(track: Track[V]) -> int:
    return track.tail.standing.position.checkpoint.size


def _contradict(one: Track[V], other: Track[V]) -> bool:
    """Whether two logs of one size are not the same log."""
    mine, theirs = one.tail.standing.position.checkpoint, other.tail.standing.position.checkpoint
    return mine.size == theirs.size and mine.root != theirs.root
