"""Holders on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.contact import Commitment
from registry.errors import MalformedError
from registry.holder import Holder
from registry.kinds import ContactField, Status
from registry.wire.v1 import log_pb2
from tests.support.strategies import holders

COMMITMENT = Commitment(ContactField.NAME, bytes(32))


@given(holders)
def test_a_holder_leads_back(holder: Holder) -> None:
    """A holder's payload decodes to that holder."""
    assert Holder.decode(holder.encode()) == holder


@given(st.binary(max_size=200))
def test_any_bytes_are_a_holder_or_malformed(data: bytes) -> None:
    """Arbitrary bytes give a holder or a MalformedError."""
    try:
        holder = Holder.decode(data)
    except MalformedError:
        return
    assert Holder.decode(holder.encode()) == holder


def test_a_field_is_committed_to_once() -> None:
    """Two commitments to one field would leave open which one counts."""
    with pytest.raises(MalformedError):
        Holder(Status.ACTIVE, 1, (COMMITMENT, COMMITMENT))


@pytest.mark.parametrize("status", [0, 5])
def test_an_unknown_status_is_malformed(status: int) -> None:
    """A status is one of those that have a name."""
    message = log_pb2.Holder(status=log_pb2.Status.ValueType(status))

    with pytest.raises(MalformedError):
        Holder.decode(message.SerializeToString())
