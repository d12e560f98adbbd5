"""What goes wrong while the log is followed: what is said of it, and how long is waited then."""

from __future__ import annotations

import threading
from random import Random

from node.errors import ConfigurationError, StorageError
from node.fork_file import keep_evidence
from node.logging import get_logger
from node.retry import Backoff
from registry.errors import ForkError, OutdatedError, VerificationError
from secondary.etcd_contact import EtcdContact
from secondary.etcd_values import EtcdError, EtcdFull, FenceLost
from secondary.follower_status import Phase, StatusBoard
from secondary.replica import ReplicaDamagedError
from secondary.settings import SecondarySettings
from secondary.upstream import UpstreamError, UpstreamRefused

_log = get_logger("follower")


class Setbacks:
    """Puts each on the status board as a phase and a piece of advice.

    Delays are in seconds, and grow with each setback until `streamed` or `stored`.
    """

    def __init__(self, settings: SecondarySettings, board: StatusBoard) -> None:
        self._settings = settings
        self._board = board
        self._contact = EtcdContact()
        timing = settings.follower
        # Apart, so that an etcd that comes and goes does not slow the upstream's return.
        random = Random()  # noqa: S311 - spreads retries
        self._upstream_retry = Backoff(random, timing.retry_seconds, timing.max_retry_seconds)
        self._etcd_retry = Backoff(random, timing.retry_seconds, timing.max_retry_seconds)

    def streamed(self) -> None:
        """The upstream sent something good."""
        self._upstream_retry.reset()

    def stored(self) -> None:
        """etcd took what was written."""
        self._etcd_retry.reset()
        self.etcd_answered()

    def etcd_answered(self) -> None:
        """etcd is there, or is back."""
        if self._contact.is_away:
            self._contact.answered()
            self._board.enter(Phase.FOLLOWING)

    def claim_not_kept(self, error: EtcdError) -> None:
        """If the claim is lost, so is the fence: the next write will say so."""
        self._contact.failed(error)

    def etcd_failed(self, error: EtcdError) -> None:
        """What is held is served on."""
        self._contact.failed(error)
        advice = f"etcd: {error}; what is loaded is served, trying again"
        if isinstance(error, EtcdFull):
            advice = (
                "etcd is full: raise its quota (etcd.quota_bytes) or defragment it, then run "
                "'etcdctl alarm disarm'; what is loaded is served, nothing new is stored"
            )
        self._board.enter(Phase.DISCONNECTED, advice)

    def etcd_delay(self) -> float:
        """Until etcd is tried again."""
        return self._etcd_retry.next_delay()

    def failed_here(self, error: ReplicaDamagedError | StorageError | EtcdError) -> float:
        """etcd or the disk; the replica has to be opened again."""
        if isinstance(error, FenceLost):
            _log.info("fence.lost", reason=str(error))
        elif isinstance(error, EtcdError):
            self.etcd_failed(error)
        else:
            self._board.enter(Phase.STOPPED, str(error))
        if isinstance(error, ReplicaDamagedError):
            self._board.refuse(error)
        return self.etcd_delay()

    def failed_upstream(self, error: UpstreamError) -> float:
        """The upstream is away, or wants nothing to do with this node."""
        at = f"upstream {self._settings.upstream}"
        if isinstance(error, UpstreamRefused):
            self._board.enter(Phase.DISCONNECTED, f"{at} refuses this node: {error}")
            return self._settings.follower.max_retry_seconds
        self._board.enter(Phase.DISCONNECTED, f"{at}: {error}; lookups go on, trying again")
        return self._upstream_retry.next_delay()

    def misconfigured(self, error: ConfigurationError) -> float:
        """The upstream is not whom the board's root names."""
        self._board.enter(Phase.STOPPED, f"{error}; the last good state is served")
        return self._settings.follower.distrust_seconds

    def distrusted(self, error: VerificationError) -> float:
        """The upstream sent what the registry did not sign, or what cannot be understood."""
        advice = f"upstream {self._settings.upstream} sent what cannot be taken: {error}"
        if isinstance(error, OutdatedError):
            advice = str(error)
        _log.error("upstream.distrusted", error=type(error).__name__, reason=str(error))
        self._board.refuse(error)
        self._board.enter(Phase.STOPPED, f"{advice}; the last good state is served")
        return self._settings.follower.distrust_seconds

    def forked(self, error: ForkError) -> float:
        """There is no going on; the evidence is kept."""
        try:
            path = keep_evidence(error, self._settings.data_dir)
        except StorageError as refused:
            # Whatever the disk says, following ends here.
            evidence = f"its evidence is lost, {refused}"
            _log.error("log.forked", reason=str(refused))
        else:
            evidence = f"publish {path}"
            _log.error("log.forked", evidence=str(path))
        self._board.enter(
            Phase.FORKED,
            f"the registry's key signed two logs that disagree: {evidence}; following has ended, "
            "the last good state is served; start again when the registry has explained",
        )
        return threading.TIMEOUT_MAX
