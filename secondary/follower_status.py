"""What a follower says of itself: to its mirror service, its metrics and its log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from node.logging import get_logger
from registry.errors import VerificationError
from secondary.peers import Peer
from secondary.set_values import SetStanding

_log = get_logger("follower")


class Phase(StrEnum):
    """What a follower is doing."""

    STARTING = "starting"
    # A replica is read back from etcd, or made from a snapshot.
    LOADING = "loading"
    FOLLOWING = "following"
    # The upstream or etcd is away; what is held is served on.
    DISCONNECTED = "disconnected"
    # Two signed checkpoints disagree: following has ended until a person has looked.
    FORKED = "forked"
    # The upstream gave something that the registry did not sign; it is asked again later.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One moment of a follower. Times in milliseconds since 1970; 0, or empty: none yet."""

    phase: Phase = Phase.STARTING
    # What a person should know or do; empty when all is well.
    advice: str = ""
    size: int = 0
    checkpoint: bytes = b""
    checkpoint_ms: int = 0
    freshness_ms: int = 0
    zone_serial: int = 0
    live_keys: int = 0
    # The largest size the upstream has shown, signed.
    upstream_size: int = 0
    # Since when, by the monotonic clock, something is lacking that was shown; None: nothing is.
    behind_since_s: float | None = None
    # The nodes that the log comes through, from the primary's follower to this one.
    path: tuple[str, ...] = ()
    # What this mirror cosigned last; and why the primary does not hear of it, empty if it does.
    cosigned_size: int = 0
    cosigned_ms: int = 0
    cosigning_problem: str = ""
    # When this node's certificate ends, and the authority's; why it is not renewed, empty if it is.
    certificate_ends_ms: int = 0
    authority_ends_ms: int = 0
    certificate_problem: str = ""
    # Why nobody should be sent here, though it answers; empty when all is well.
    out_of_rotation: str = ""
    peers: tuple[Peer, ...] = ()
    # How this mirror stands in the A record set, as the primary said last.
    set_standing: SetStanding = field(default_factory=SetStanding)

    @property
    def lag(self) -> int:
        """Entries that the upstream or a peer has shown, and that are not stored here yet."""
        return max(self.upstream_size, *(peer.size for peer in self.peers), self.size) - self.size


class StatusBoard:
    """Holds the newest status; any thread may read, and change some of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status = FollowerStatus()
        self._refusals: Counter[str] = Counter()

    @property
    def now(self) -> FollowerStatus:
        """The newest status."""
        return self._status

    def set(self, **changes: Any) -> None:
        """Change these parts of it."""
        with self._lock:
            status = replace(self._status, **changes)
            since = (status.behind_since_s or time.monotonic()) if status.lag else None
            self._status = replace(status, behind_since_s=since)

    def saw_upstream(self, size: int) -> None:
        """The upstream has shown a log of this size, signed; a smaller one is no news."""
        if size > self._status.upstream_size:
            self.set(upstream_size=size)

    @property
    def refusals(self) -> dict[str, int]:
        """How often something was not what the registry signed, by the name of its error."""
        with self._lock:
            return dict(self._refusals)

    def refuse(self, error: VerificationError) -> None:
        """Count it among the refusals."""
        with self._lock:
            self._refusals[type(error).__name__] += 1

    def enter(self, phase: Phase, advice: str = "") -> None:
        """Say what the follower does from now on; logged where that is news."""
        before = self._status
        self.set(phase=phase, advice=advice)
        if (before.phase, before.advice) == (phase, advice):
            return
        if advice:
            _log.warning("phase.changed", phase=phase.value, advice=advice)
        else:
            _log.info("phase.changed", phase=phase.value)
