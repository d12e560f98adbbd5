"""Which addresses are this machine's own."""

from __future__ import annotations

import pytest

from node.sockets import is_local
from registry.address import Address


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.1", True), ("192.0.2.7", False)])
def test_its_own_addresses_are_told_from_others(address: str, expected: bool) -> None:
    """Whether there is a way to the others or not."""
    assert expected == is_local(Address.parse(address))
