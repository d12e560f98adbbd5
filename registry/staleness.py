"""How long a mirror answers without any word from the registry: as the board has decided.

The root has a period (`policy staleness-seconds`), a decision may give it another value, and a
decision may extend the answers to a time (`extend staleness TIME`). A primary that is lost can put
nothing into the log, so that an extension is also good as a file, by its signatures alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from registry.board import Board, SignedDecision
from registry.decision import ExtendStaleness, SetPolicy
from registry.entry import Entry
from registry.errors import BoardError
from registry.kinds import Kind
from registry.root_chain import RootChain

_POLICY: Final = "staleness-seconds"


@dataclass(frozen=True, slots=True)
class Staleness:
    """What is answered for `seconds` after the last signed word, and in any case until `until_s`.

    `until_s` is in seconds since 1970; 0: nobody has extended anything.
    """

    seconds: float
    until_s: int = 0

    def ends_s(self, vouched_s: float) -> float:
        """Until when a register is served that was vouched for at this time; since 1970."""
        return max(vouched_s + self.seconds, self.until_s)

    def extended(self, until_s: int) -> Staleness:
        """The same, extended until then, if that is later."""
        return replace(self, until_s=max(self.until_s, until_s))


def concerns_staleness(entry: Entry) -> bool:
    """Whether an entry can change it: a root, or one of the decisions about it."""
    if entry.kind == Kind.ROOT:
        return True
    if entry.kind != Kind.DECISION:
        return False
    match SignedDecision.decode(entry.payload).decision.act:
        case ExtendStaleness():
            return True
        case SetPolicy(name, _):
            return name == _POLICY
    return False


def decided_staleness(chain: RootChain, entries: Iterable[tuple[int, Entry]]) -> Staleness:
    """What these entries of the log, each with its index, come to; errors as of `Board.restore`.

    Entries that `concerns_staleness` has sorted out are not needed.
    """
    board = Board.restore(chain, entries)
    return Staleness(board.policies.staleness_seconds, board.stale_after_s)


def open_extension(note: bytes, chain: RootChain, now_s: float | None = None) -> int:
    """The time that a signed decision in a file extends the answers to, in seconds since 1970.

    With `now_s` it is also looked at as a new one is: it may not have expired. MalformedError:
    no decision. BoardError: about another log, something else, or made under another root than
    the newest. ThresholdError, SignatureError: the board did not sign it.
    """
    signed = SignedDecision.decode(note)
    made, board = signed.decision, Board(chain, version=chain.version)
    if not isinstance(made.act, ExtendStaleness):
        raise BoardError(f"it decides {made.act.line()!r}, and extends no staleness")
    board.check_decision(signed, made.proposed_s if now_s is None else now_s)
    return made.act.until_s
