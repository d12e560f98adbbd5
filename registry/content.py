"""What an entry says of its key, and what stands beside it, checked as its kind asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry.board import SignedDecision
from registry.contact import Opening, check_opening
from registry.entry import Entry
from registry.errors import MalformedError, ProofError, UnknownCriticalKindError
from registry.holder import Holder
from registry.kinds import Kind, Operation
from registry.registration import Registration
from registry.root_chain import SignedRoot

_UNDERSTOOD: Final = frozenset(
    {Kind.HOLDER, Kind.REGISTRATION, Kind.ROOT, Kind.DECISION, Kind.STATE}
)


def check_content(entry: Entry, openings: Sequence[Opening]) -> None:
    """Check that the entry can be understood, or at least passed on, and that its openings hold.

    UnknownCriticalKindError: it must be understood, and this software does not; MalformedError:
    its payload is not what its kind asks for; ProofError: an opening opens nothing in it.
    """
    if entry.kind == Kind.REGISTRATION and entry.operation == Operation.PUT:
        Registration.decode(entry.payload)
    elif entry.kind == Kind.HOLDER and entry.operation == Operation.PUT:
        _check_openings(Holder.decode(entry.payload), openings)
        return
    elif entry.kind == Kind.ROOT and entry.operation == Operation.PUT:
        SignedRoot.decode(entry.payload)
    elif entry.kind == Kind.DECISION and entry.operation == Operation.PUT:
        SignedDecision.decode(entry.payload)
    elif entry.critical and entry.kind not in _UNDERSTOOD:
        raise UnknownCriticalKindError(
            f"the log holds a critical entry of kind {entry.kind}: update this software to go on"
        )
    if openings:
        raise MalformedError(f"openings beside an entry of kind {entry.kind} that has none")


def _check_openings(holder: Holder, openings: Sequence[Opening]) -> None:
    commitments = {commitment.field: commitment for commitment in holder.commitments}
    for opening in openings:
        commitment = commitments.pop(opening.field, None)
        if commitment is None:
            raise ProofError(f"a second opening of {opening.field.name}, or one of nothing")
        check_opening(commitment, opening)
