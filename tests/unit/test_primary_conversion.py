"""Messages from anyone, as changes."""

from __future__ import annotations

import pytest

from primary.services import conversion
from registry.errors import Problem
from registry.wire.v1 import log_pb2
from registry.wire.v1 import registration_pb2 as pb


def test_more_values_than_fields_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of a hundred thousand contact values is refused by their number alone."""
    monkeypatch.setattr(conversion, "ContactValue", None)
    value = pb.ContactValue(field=log_pb2.CONTACT_FIELD_NAME, value="a")
    request = pb.CreateHolderRequest(
        holder_id=bytes(16), management_key=bytes(32), contact=[value] * 100_000
    )
    with pytest.raises(Problem) as raised:
        conversion.create_holder(request)
    assert raised.value.code == "contact"
