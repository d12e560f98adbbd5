"""The state entry's payload, and the arithmetic of zone serials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError
from registry.state import State, is_later, next_serial
from registry.wire.v1 import log_pb2
from tests.support.strategies import states

serials = st.integers(1, 2**32 - 1)


@given(states)
def test_a_state_leads_back(state: State) -> None:
    """A state's payload decodes to that state."""
    assert State.decode(state.encode()) == state


@given(st.binary(max_size=80))
def test_any_bytes_are_a_state_or_malformed(data: bytes) -> None:
    """Arbitrary bytes give a state or a MalformedError."""
    try:
        state = State.decode(data)
    except MalformedError:
        return
    assert State.decode(state.encode()) == state


@pytest.mark.parametrize(
    "message",
    [
        log_pb2.State(state_root=bytes(32)),
        log_pb2.State(state_root=bytes(31), zone_serial=1),
    ],
)
def test_a_state_with_wrong_parts_is_malformed(message: log_pb2.State) -> None:
    """A root has 32 bytes, and the serial 0 stands for none."""
    with pytest.raises(MalformedError):
        State.decode(message.SerializeToString())


@given(serials)
def test_the_next_serial_is_later(serial: int) -> None:
    """RFC 1982: the next one is later, and the other way round never."""
    following = next_serial(serial)

    assert is_later(following, serial)
    assert not is_later(serial, following)


def test_serials_wrap_past_zero() -> None:
    """After the last number comes 1."""
    assert next_serial(2**32 - 1) == 1
    assert is_later(1, 2**32 - 1)


@given(serials)
def test_every_serial_is_later_than_none(serial: int) -> None:
    """A log may begin with any serial."""
    assert is_later(serial, 0)


# RFC 1982, section 3.2: half the number space is later, the exact half is undefined.
@pytest.mark.parametrize(
    ("serial", "than", "later"),
    [
        (5, 5, False),
        (2**31, 1, True),
        (2**31 + 1, 1, False),
        (2**31 + 2, 1, False),
        (1, 2**31 + 2, True),
    ],
)
def test_later_covers_half_the_numbers(serial: int, than: int, later: bool) -> None:
    """A serial repeated, or half of all numbers away, is not later."""
    assert is_later(serial, than) is later
