"""What an entry says of its key, and what stands beside it, checked as its kind asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry.batch import LoggedEntry, Record
from registry.board import SignedDecision
from registry.contact import Opening, check_opening
from registry.entry import Entry
from registry.errors import MalformedError, NewerLogError, ProofError, UnknownValueError
from registry.holder import Holder
from registry.kinds import Kind, Operation
from registry.member import Member, member_name
from registry.registration import Registration, outline_registration
from registry.removed_key import RemovedKey
from registry.root_chain import SignedRoot

_UNDERSTOOD: Final = frozenset(
    {
        Kind.HOLDER,
        Kind.REGISTRATION,
        Kind.MEMBER,
        Kind.ROOT,
        Kind.DECISION,
        Kind.STATE,
        Kind.REMOVED_KEY,
    }
)
# Plain numbers: looking the enumerations up costs several times as much.
_REGISTRATION: Final = int(Kind.REGISTRATION)
_HOLDER: Final = int(Kind.HOLDER)


def read_entry(logged: LoggedEntry) -> Entry:
    """The entry, which can be understood, or at least passed on, and whose openings hold.

    NewerLogError: it must be understood, and this software does not; MalformedError, LimitError:
    no entry, or its payload is not what its kind asks for; ProofError: an opening opens nothing
    in it. It is as signed as the caller knows it to be.
    """
    try:
        entry = Entry.decode(logged.entry)
        check_content(entry, logged.openings)
    except UnknownValueError as error:
        raise _newer(str(error)) from error
    return entry


def check_stored(state_key: bytes, payload: bytes, record: bytes) -> None:
    """Check that an encoded record, verified when it was stored, can be understood.

    For whoever reads a replica, which a newer version may have written; what a holder's says is
    read when somebody asks. NewerLogError: it cannot. MalformedError: no record at all.
    """
    kind = state_key[0]
    if kind == _HOLDER:
        return
    if kind != _REGISTRATION:
        read_entry(LoggedEntry(Record.decode(record).entry))
        return
    try:
        outline_registration(payload)
    except UnknownValueError as error:
        raise _newer(str(error)) from error


def check_content(entry: Entry, openings: Sequence[Opening]) -> None:
    """As `read_entry`, of an entry that was read; UnknownValueError where that says what is newer.

    NewerLogError: a critical one of a kind that this software does not know.
    """
    if entry.kind == Kind.REGISTRATION and entry.operation == Operation.PUT:
        Registration.decode(entry.payload)
    elif entry.kind == Kind.HOLDER and entry.operation == Operation.PUT:
        _check_openings(Holder.decode(entry.payload), openings)
        return
    elif entry.kind == Kind.MEMBER:
        member_name(entry.key)
        if entry.operation == Operation.PUT:
            Member.decode(entry.payload)
    elif entry.kind == Kind.ROOT and entry.operation == Operation.PUT:
        SignedRoot.decode(entry.payload)
    elif entry.kind == Kind.DECISION and entry.operation == Operation.PUT:
        SignedDecision.decode(entry.payload)
    elif entry.kind == Kind.REMOVED_KEY and entry.operation == Operation.PUT:
        RemovedKey.decode(entry.payload)
    elif entry.critical and entry.kind not in _UNDERSTOOD:
        raise _newer(f"a critical entry of kind {entry.kind}")
    if openings:
        raise MalformedError(f"openings beside an entry of kind {entry.kind} that has none")


def _newer(what: str) -> NewerLogError:
    return NewerLogError(f"the log holds {what}: update this software to go on")


def _check_openings(holder: Holder, openings: Sequence[Opening]) -> None:
    commitments = {commitment.field: commitment for commitment in holder.commitments}
    for opening in openings:
        commitment = commitments.pop(opening.field, None)
        if commitment is None:
            raise ProofError(f"a second opening of {opening.field!r}, or one of nothing")
        check_opening(commitment, opening)
