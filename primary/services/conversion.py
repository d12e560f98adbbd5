"""Messages as changes, and records as messages. Problem: the message asks for nothing that can be.

Every change passes here, so nothing is built that need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from primary.changes import (
    Change,
    CreateHolder,
    Register,
    Update,
    UpdateHolder,
    Withdraw,
    WithdrawHolder,
)
from registry.address import Address
from registry.batch import Record
from registry.contact import ContactValue
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import ContactField
from registry.wire.v1 import log_pb2
from registry.wire.v1 import registration_pb2 as pb

# A message may repeat what it was given, and metadata of more than 8 KiB breaks the call.
MAX_PROBLEM_CHARACTERS: Final = 512

_FIELDS: Final = {int(field): field for field in ContactField}


def create_holder(request: pb.CreateHolderRequest) -> CreateHolder:
    """The change that the request asks for."""
    options = request.options
    return CreateHolder(
        request.holder_id,
        request.management_key,
        contact_values(request.contact),
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


def update_holder(request: pb.UpdateHolderRequest) -> UpdateHolder:
    """The change that the request asks for."""
    options = request.options
    return UpdateHolder(
        request.holder_id,
        request.management_key,
        contact_values(request.contact),
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


def withdraw_holder(request: pb.WithdrawHolderRequest) -> WithdrawHolder:
    """The change that the request asks for."""
    options = request.options
    return WithdrawHolder(
        request.holder_id,
        request.management_key,
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


def register(request: pb.RegisterRequest) -> Register:
    """The change that the request asks for."""
    options = request.options
    return Register(
        request.holder_id,
        request.management_key,
        Address.parse(request.address),
        request.host,
        request.domain,
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


def update(request: pb.UpdateRequest) -> Update:
    """The change that the request asks for."""
    options = request.options
    return Update(
        request.holder_id,
        request.management_key,
        Address.parse(request.address),
        request.host,
        request.domain,
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


def withdraw(request: pb.WithdrawRequest) -> Withdraw:
    """The change that the request asks for."""
    options = request.options
    return Withdraw(
        request.holder_id,
        request.management_key,
        Address.parse(request.address),
        idempotency_key=options.idempotency_key,
        expected_version=options.expected_version,
    )


_CHANGES: Final[dict[str, Callable[[Any], Change]]] = {
    "create_holder": create_holder,
    "update_holder": update_holder,
    "withdraw_holder": withdraw_holder,
    "register": register,
    "update": update,
    "withdraw": withdraw,
}


def change(message: pb.Change) -> Change | Problem:
    """Any of the six, or why it is none."""
    name = message.WhichOneof("change")
    if name is None:
        return Problem("change", "an empty change; say what to do, or use a newer registry")
    try:
        return _CHANGES[name](getattr(message, name))
    except Problem as problem:
        return problem


def problem_message(problem: Problem) -> pb.Problem:
    """The problem for the wire."""
    return pb.Problem(
        code=problem.code, field=problem.field, message=problem.message[:MAX_PROBLEM_CHARACTERS]
    )


def registration_view(record: Record) -> pb.RegistrationView:
    """A registration's record, for anyone."""
    entry = Entry.decode(record.entry)
    return pb.RegistrationView(
        address=str(Address(entry.key)),
        registration=log_pb2.Registration.FromString(entry.payload),
        version=record.index,
        updated_ms=entry.time_ms,
    )


def holder_view(record: Record) -> pb.HolderView:
    """A holder's record and public contact, for anyone."""
    entry = Entry.decode(record.entry)
    return pb.HolderView(
        holder_id=entry.key,
        holder=log_pb2.Holder.FromString(entry.payload),
        version=record.index,
        updated_ms=entry.time_ms,
        contact=[opening.to_message() for opening in record.openings],
    )


def contact_values(values: Sequence[pb.ContactValue]) -> tuple[ContactValue, ...]:
    """The contact in a request."""
    # Before they are looked at: a message has room for hundreds of thousands.
    if len(values) > len(_FIELDS):
        raise Problem("contact", "give each field once", "contact")
    return tuple([ContactValue(_field(v.field), v.value, v.public) for v in values])


def _field(number: int) -> ContactField:
    field = _FIELDS.get(number)
    if field is None:
        raise Problem("contact", f"{number} is no contact field", "contact")
    return field
