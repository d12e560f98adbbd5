"""What only the board can have changed: its texts enter the log, and what they order is done.

And nodes: how the mirrors that it has admitted stand in the A record set, and whose keys may follow
no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from primary.rules import PutRegistration, Unchanged
from registry.address import Address
from registry.board import Board, SignedDecision, root_key
from registry.board_text import SignedText
from registry.entry import Entry, state_key
from registry.errors import Problem, VerificationError
from registry.kinds import Kind, Operation, Status
from registry.member import Member, member_key
from registry.registration import Registration
from registry.removed_key import RemovedKey, removed_state_key
from registry.root_chain import SignedRoot


@dataclass(frozen=True, slots=True)
class PublishRoot:
    """The next root, as it was signed."""

    note: bytes

    @property
    def state_key(self) -> bytes:
        """What it is in the log."""
        return state_key(Kind.ROOT, root_key(SignedRoot.decode(self.note).root.version))


@dataclass(frozen=True, slots=True)
class Enact:
    """A decision, as it was signed."""

    note: bytes

    @property
    def state_key(self) -> bytes:
        """What it is in the log."""
        return state_key(Kind.DECISION, SignedDecision.decode(self.note).decision.identifier)


@dataclass(frozen=True, slots=True)
class Align:
    """Brings the status of an address's registration in line with what the board decided."""

    address: Address

    @property
    def state_key(self) -> bytes:
        """What it changes."""
        return state_key(Kind.REGISTRATION, self.address.packed)


@dataclass(frozen=True, slots=True)
class SetMember:
    """The mirror stands like this; None: it is no member any more."""

    name: str
    member: Member | None

    @property
    def state_key(self) -> bytes:
        """What it changes."""
        return state_key(Kind.MEMBER, member_key(self.name))


@dataclass(frozen=True, slots=True)
class SetRemovedKey:
    """A node's key, by its digest, may follow no more; None: it may again."""

    key: bytes
    removed: RemovedKey | None

    @property
    def state_key(self) -> bytes:
        """What it changes."""
        return removed_state_key(self.key)


BoardChange = PublishRoot | Enact | Align | SetMember | SetRemovedKey


@dataclass(frozen=True, slots=True)
class PutText:
    """A root or a decision is in the log, and `board` holds from here on."""

    entry: Entry
    board: Board


@dataclass(frozen=True, slots=True)
class PutNode:
    """A mirror's entry, or a removed key's, which may delete the one before."""

    entry: Entry


class BoardView(Protocol):
    """What is current, the changes before this one included."""

    @property
    def board(self) -> Board:
        """The board so far."""

    def text_version(self, key: bytes) -> int | None:
        """The index of a root's or decision's entry, by its state key; None if it has none."""

    def node(self, key: bytes) -> tuple[int, bytes] | None:
        """The version and payload of a live member or removed key, by its state key."""

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        """The version and record of a live registration."""


BoardEffect = PutText | PutNode | PutRegistration | Unchanged


def decide_board(change: BoardChange, view: BoardView, time_ms: int) -> BoardEffect:
    """What the change does. Problem "board": the board has not signed it, or not like this."""
    if isinstance(change, Align):
        return _align(change.address, view)
    if isinstance(change, SetMember | SetRemovedKey):
        return _set_node(change, view, time_ms)
    key = change.state_key
    version = view.text_version(key)
    if version is not None:
        return Unchanged(version)
    entry = Entry(
        kind=key[0],
        key=key[1:],
        operation=Operation.PUT,
        critical=True,
        time_ms=time_ms,
        payload=_trimmed(change, view.board),
    )
    try:
        return PutText(entry, view.board.after(entry))
    except VerificationError as error:
        raise Problem("board", str(error)) from error


def check_consent(board: Board, effect: PutRegistration) -> None:
    """Problem "suspended" if the board keeps it from being put like this."""
    try:
        board.check_registration(effect.address, effect.registration)
    except VerificationError:
        raise Problem(
            "suspended",
            f"{effect.address} is suspended by the board; WHOIS shows why; ask it to lift that",
            "address",
        ) from None


def _set_node(
    change: SetMember | SetRemovedKey, view: BoardView, time_ms: int
) -> PutNode | Unchanged:
    """A mirror's entry, or a removed key's."""
    current = view.node(change.state_key)
    after = change.member if isinstance(change, SetMember) else change.removed
    payload = after.encode() if after else b""
    if (current[1] if current else b"") == payload:
        return Unchanged(current[0] if current else 0)
    # Not critical: who cannot read it can still answer for every registration.
    entry = Entry(
        change.state_key[0],
        change.state_key[1:],
        Operation.PUT if after else Operation.DELETE,
        critical=False,
        time_ms=time_ms,
        payload=payload,
    )
    if isinstance(change, SetMember):
        try:
            view.board.check_member(entry)
        except VerificationError as error:
            raise Problem("board", str(error)) from error
    return PutNode(entry)


def aligned(address: Address, registration: Registration, board: Board) -> Registration:
    """The registration as the board decided: suspended, or no longer so."""
    decided = board.suspension(address, registration.holder_id)
    if decided is not None:
        return replace(registration, status=Status.SUSPENDED, reason=decided.decision.reason)
    if registration.status is Status.SUSPENDED:
        return replace(registration, status=Status.ACTIVE, reason="")
    return registration


def _align(address: Address, view: BoardView) -> PutRegistration | Unchanged:
    current = view.registration(address)
    if current is None:
        raise Problem("not_found", f"{address} is not registered", "address")
    version, registration = current
    changed = aligned(address, registration, view.board)
    if changed == registration:
        return Unchanged(version)
    return PutRegistration(address, changed, new=False)


def _trimmed(change: PublishRoot | Enact, board: Board) -> bytes:
    """Without signatures that are nobody's: what is in the log stays there."""
    text = SignedText.parse(change.note)
    boards = [signed.root.board for signed in board.chain.roots[-1:]]
    if isinstance(change, PublishRoot):
        boards.append(SignedRoot.decode(change.note).root.board)
    return text.only(boards).encode()
