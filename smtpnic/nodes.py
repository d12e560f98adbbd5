"""How the nodes stand beside each other: what is wrong, judged from what all of them show.

Lag is judged against the best checkpoint among the nodes, never by age alone (P7): a primary
that nobody changes anything at is not behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from registry.checkpoint import Checkpoint, CheckpointKeys, open_checkpoint
from registry.errors import VerificationError
from smtpnic.views import MirrorStatus, Statistics

# A mirror applies a batch in some 10 ms; ten seconds behind the best is no burst of changes.
MAX_LAG_MS: Final = 10_000
# The primary cosigns every few seconds; the same limit as for a dead subscriber's keepalive,
# with room for a reconnection.
MAX_FRESHNESS_AGE_MS: Final = 60_000
FOLLOWING: Final = "following"
SERVING: Final = "serving"


@dataclass(frozen=True, slots=True)
class NodeState:
    """What one node shows, and what is wrong with it: empty when all is well.

    `checkpoint` is None until it is verified; `freshness_ms` is 0 where the node tells none.
    """

    role: str
    address: str
    name: str = ""
    phase: str = ""
    size: int = 0
    lag: int = 0
    zone_serial: int = 0
    checkpoint_ms: int = 0
    freshness_ms: int = 0
    note: bytes = b""
    checkpoint: Checkpoint | None = None
    advice: tuple[str, ...] = ()


def primary_state(address: str, found: Statistics) -> NodeState:
    """The primary's."""
    return NodeState(
        "primary",
        address,
        phase=SERVING,
        size=found.log_size,
        zone_serial=found.zone_serial,
        checkpoint_ms=found.last_change_ms,
        note=found.checkpoint,
    )


def mirror_state(address: str, found: MirrorStatus) -> NodeState:
    """A secondary's."""
    return NodeState(
        "mirror",
        address,
        name=found.name,
        phase=found.phase,
        size=found.size,
        zone_serial=found.zone_serial,
        checkpoint_ms=found.checkpoint_ms,
        freshness_ms=found.freshness_ms,
        note=found.checkpoint,
        advice=tuple(text for text in (found.advice, found.out_of_rotation) if text),
    )


def unreachable_state(role: str, address: str, error: Exception) -> NodeState:
    """That of a node which gave no answer."""
    return NodeState(role, address, phase="unreachable", advice=(str(error),))


def judge(
    states: Sequence[NodeState], verifier: CheckpointKeys | None, now_ms: int
) -> list[NodeState]:
    """The states with their lag, and with all that is wrong among them.

    Without a `verifier` signatures are not checked, and forks not looked for.
    """
    if verifier is not None:
        states = [_verified(state, verifier) for state in states]
    # A size that nobody signed is no measure for the others.
    believed = [state for state in states if verifier is None or state.checkpoint is not None]
    best = max(believed or states, key=lambda state: state.size)
    return [_judged(state, best, states, now_ms) for state in states]


def _verified(state: NodeState, verifier: CheckpointKeys) -> NodeState:
    if not state.note:
        return state
    try:
        checkpoint = open_checkpoint(state.note, verifier)
    except VerificationError as error:
        return replace(state, advice=(*state.advice, f"its checkpoint is not the log's: {error}"))
    return replace(state, checkpoint=checkpoint, size=checkpoint.size)


def _judged(
    state: NodeState, best: NodeState, states: Sequence[NodeState], now_ms: int
) -> NodeState:
    if state.phase == "unreachable":
        return state
    advice = list(state.advice)
    if state.phase not in (FOLLOWING, SERVING) and not advice:
        advice.append(f"it is {state.phase}, not following: see its log")
    if best.checkpoint_ms - state.checkpoint_ms > MAX_LAG_MS:
        advice.append(f"it is behind {best.name or best.address}: see its log and its upstream")
    if state.freshness_ms and now_ms - state.freshness_ms > MAX_FRESHNESS_AGE_MS:
        advice.append("the primary has not confirmed its checkpoint lately: is the primary up?")
    advice += [
        f"its checkpoint and that of {other.name or other.address} are of one size "
        "and differ: the log has forked; keep both and tell everybody"
        for other in states
        if _forked(state, other)
    ]
    return replace(state, lag=max(0, best.size - state.size), advice=tuple(advice))


def _forked(one: NodeState, other: NodeState) -> bool:
    if one.checkpoint is None or other.checkpoint is None:
        return False
    return one.size == other.size and one.checkpoint != other.checkpoint
