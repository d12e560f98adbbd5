"""The words of the log, against the wire contract."""

from __future__ import annotations

from enum import IntEnum

import pytest
from google.protobuf.descriptor import EnumDescriptor

from registry.errors import MalformedError
from registry.kinds import ContactField, Kind, Operation, Status
from registry.messages import by_number, known, parse
from registry.wire.v1 import log_pb2


@pytest.mark.parametrize(
    ("enum", "descriptor", "prefix"),
    [
        (Kind, log_pb2.Kind.DESCRIPTOR, "KIND_"),
        (Operation, log_pb2.Operation.DESCRIPTOR, "OPERATION_"),
        (Status, log_pb2.Status.DESCRIPTOR, "STATUS_"),
        (ContactField, log_pb2.ContactField.DESCRIPTOR, "CONTACT_FIELD_"),
    ],
)
def test_each_word_is_that_of_the_wire(
    enum: type[IntEnum], descriptor: EnumDescriptor, prefix: str
) -> None:
    """Names and numbers are those of the .proto file, but for the unspecified zero."""
    wire = {value.name.removeprefix(prefix): value.number for value in descriptor.values}
    del wire["UNSPECIFIED"]

    assert {member.name: member.value for member in enum} == wire


def test_a_number_without_a_word_is_malformed() -> None:
    """An open enumeration of the wire is closed on the way in."""
    assert known(by_number(Status), 2) is Status.ACTIVE
    with pytest.raises(MalformedError):
        known(by_number(Status), 99)


def test_a_message_that_is_none_is_malformed() -> None:
    """protobuf's own error never comes out."""
    with pytest.raises(MalformedError, match="Entry"):
        parse(log_pb2.Entry, b"\xff\xff\xff")
