"""Cosigns each checkpoint that is stored and fresh, and reports that; in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from node.errors import StorageError
from node.logging import get_logger
from registry.checkpoint import Checkpoint
from registry.cosigning import Cosigned
from registry.errors import ForkError, VerificationError
from secondary.audience import Audience
from secondary.cosigner import MirrorCosigner
from secondary.follower_status import StatusBoard
from secondary.log_tiles import LogTiles
from secondary.upstream import Upstream, UpstreamError

STOP_SECONDS: Final = 5.0

_log = get_logger("cosigning")


class _Fresh(NamedTuple):
    note: bytes
    checkpoint: Checkpoint


class Cosigning(Audience):
    """Hears of fresh checkpoints, and cosigns the newest when it comes to it."""

    def __init__(
        self,
        cosigner: MirrorCosigner,
        tiles: LogTiles,
        primary: Upstream | None,
        board: StatusBoard,
    ) -> None:
        """`primary` is reported to; None if nobody counts on this node's word."""
        self._cosigner = cosigner
        self._tiles = tiles
        self._primary = primary
        self._board = board
        self._freeze: Callable[[ForkError], None] = _raise
        self._newest: _Fresh | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._refusal = ""
        self._thread = threading.Thread(target=self._run, name="cosigning", daemon=True)
        self._show(cosigner.last)

    def start(self, freeze: Callable[[ForkError], None]) -> None:
        """Begin; `freeze` is told of a log that does not go on from what was cosigned."""
        self._freeze = freeze
        self._thread.start()

    def stop(self) -> None:
        """End after the signature at hand; nothing is signed afterwards."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def fresh(self, note: bytes, checkpoint: Checkpoint) -> None:
        """Cosign this, unless something newer comes first."""
        self._newest = _Fresh(note, checkpoint)
        self._wake.set()

    def forked(self, fork: ForkError) -> None:  # noqa: ARG002
        """Vouch for nothing any more."""
        self._newest = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            newest, self._newest = self._newest, None
            if newest is not None and not self._stopping.is_set():
                self._take(newest)

    def _take(self, newest: _Fresh) -> None:
        # Without its tiles nothing shows that the log goes on from what was cosigned.
        if not self._tiles.is_complete:
            return
        try:
            cosigned = self._cosigner.cosign(newest.note, newest.checkpoint, self._tiles)
        except ForkError as fork:
            self._freeze(fork)
        except (VerificationError, StorageError) as error:
            self._refuse(f"not cosigned: {error}")
        else:
            self._show(cosigned)
            self._report(cosigned)

    def _report(self, cosigned: Cosigned) -> None:
        if self._primary is None:
            return
        try:
            self._primary.report_cosignature(self._cosigner.verifier.vkey(), cosigned.note)
        except UpstreamError as error:
            self._refuse(f"not reported: {error}")
        else:
            self._refuse("")

    def _refuse(self, reason: str) -> None:
        """Say why the primary does not count on this mirror, where that is news."""
        if reason != self._refusal:
            self._refusal = reason
            self._board.set(cosigning_problem=reason)
            if reason:
                _log.warning("cosigning.failed", reason=reason)

    def _show(self, cosigned: Cosigned) -> None:
        self._board.set(cosigned_size=cosigned.checkpoint.size, cosigned_ms=cosigned.time_s * 1000)


def _raise(fork: ForkError) -> None:
    raise fork
