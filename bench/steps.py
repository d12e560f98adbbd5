"""Where a change is at which moment, seen from outside: on the stream, and in a replica's etcd.

A subscriber of our own sees the batch when every secondary may; a watch of our own sees the
transaction when the DNS process may.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Final, Self

from lab.asking import wait_for
from lab.cluster import Secondary
from node.identity_files import IdentityFiles, Paths
from registry.batch import Batch
from secondary.etcd import EtcdStore
from secondary.settings import SecondarySettings
from secondary.upstream import Upstream

SEEN_SECONDS: Final = 10.0
# The observers' threads must not wait for each other: Python lets one run for 5 ms otherwise.
SWITCH_SECONDS: Final = 0.0002


class Observers:
    """Two threads that note when each batch passes, as `with`. Times by `time.perf_counter`."""

    def __init__(self, secondary: Secondary, size: int, root: bytes) -> None:
        """Watches `secondary`, with its own certificate, from the log of this size on."""
        settings = SecondarySettings.load(secondary.settings_file)
        tls = settings.tls
        files = IdentityFiles(Paths(tls.ca, tls.certificate, tls.key))
        self._upstream = Upstream(settings.upstream, files)
        self._subscription = self._upstream.subscribe(size, root)
        self._store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
        revision = self._store.get(settings.layout.current).revision
        self._watch = self._store.watch(settings.layout.all, revision + 1)
        self.streamed: list[float] = []
        self.stored: list[float] = []
        self._threads = [
            threading.Thread(target=self._see_stream, daemon=True),
            threading.Thread(target=self._see_etcd, daemon=True),
        ]

    def __enter__(self) -> Self:
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._subscription.cancel()
        self._watch.cancel()
        self._upstream.close()
        for thread in self._threads:
            thread.join(SEEN_SECONDS)
        self._store.close()
        sys.setswitchinterval(self._before)

    def wait_for(self, count: int) -> None:
        """Returns when so many batches were seen in both places; LabError when they are not."""
        wait_for(
            lambda: min(len(self.streamed), len(self.stored)) >= count,
            SEEN_SECONDS,
            f"{count} batches seen",
        )

    def _see_stream(self) -> None:
        for event in self._subscription:
            if isinstance(event, Batch):
                self.streamed.append(time.perf_counter())

    def _see_etcd(self) -> None:
        for revision in self._watch:
            # A batch of one change: a record and the cursor. A freshness note: the cursor alone.
            if len(revision.events) > 1:
                self.stored.append(time.perf_counter())
