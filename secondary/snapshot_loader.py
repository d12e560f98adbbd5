"""From the announcement of a snapshot to the replica that it makes."""

from __future__ import annotations

from collections.abc import Callable

from registry.errors import MalformedError, StateMismatchError, VerificationError
from registry.snapshot import SnapshotHeader, snapshot_name
from secondary.background import run_in_background
from secondary.bootstrap import Bootstrap
from secondary.etcd import EtcdStore
from secondary.fork import UpstreamTiles, check_extends
from secondary.generations import Generations
from secondary.replica import Replica, ReplicaDamagedError
from secondary.replica_opening import Opened
from secondary.roots import Roots
from secondary.settings import SecondarySettings
from secondary.snapshot_download import SnapshotDownload, check_announced
from secondary.upstream import NeedSnapshot, Upstream


class SnapshotLoader:
    """Reads what the upstream announces, and believes none of it; for the follower's thread."""

    def __init__(
        self,
        settings: SecondarySettings,
        store: EtcdStore,
        generations: Generations,
        upstream: Upstream,
        roots: Roots,
    ) -> None:
        self._max_bytes = settings.follower.max_snapshot_bytes
        self._verifier = roots
        self._upstream = upstream
        self._store = store
        self._generations = generations
        self._download = SnapshotDownload(settings.snapshots_dir)
        self._is_spoilt = False

    def check(self, opened: Opened, needed: NeedSnapshot, newest: int) -> None:
        """As `check_announced`, for one who holds what is opened."""
        _, position = opened.must_extend
        check_announced(
            needed,
            held=opened.replica.size,
            must_reach=position.size,
            newest=newest,
            max_bytes=self._max_bytes,
        )

    def load(
        self, opened: Opened, needed: NeedSnapshot, progress: Callable[[int], None]
    ) -> Replica:
        """The replica that the snapshot makes, served when this returns.

        Errors as of `SnapshotDownload.fetch` and `Bootstrap.load`; ForkError or another
        VerificationError if its log does not go on from what was held.
        """
        path = self._download.fetch(self._upstream, needed, progress)
        ours, position = opened.must_extend
        theirs = UpstreamTiles(self._upstream)
        bootstrap = Bootstrap(self._store, self._generations, self._verifier)

        def check(header: SnapshotHeader) -> None:
            read = header.open(self._verifier)
            if snapshot_name(read.checkpoint.size, read.state.state_root) != needed.name:
                raise MalformedError(f"another snapshot under the name {needed.name!r}")
            note = header.signed_state.checkpoint
            check_extends(ours, position, note, theirs, self._verifier)

        try:
            replica = run_in_background(lambda: bootstrap.load(path, check))
        except VerificationError as error:
            # Be it that etcd holds something else: only the state root tells that a record of the
            # file was changed, and another upstream's file bears the same name.
            self._download.clear()
            if isinstance(error, ReplicaDamagedError):
                self._spoilt(error)
            raise
        self._is_spoilt = False
        self._download.clear()
        return replica

    def _spoilt(self, error: ReplicaDamagedError) -> None:
        """Once may be a stranger's write to etcd; from then on it is the upstream's doing."""
        if self._is_spoilt:
            raise StateMismatchError(
                f"snapshots that do not lead to their signed state, time after time: {error}"
            ) from error
        self._is_spoilt = True
