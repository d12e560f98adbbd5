"""Members: mirrors that the board has admitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.errors import MalformedError, Problem
from registry.kinds import MemberStatus
from registry.member import Announced, Member, member_key, member_name

ADDRESS = Address.parse("192.0.2.11")
WORDS = st.text("abc xyz-é", max_size=63).map(str.strip)
ADDRESSES = st.lists(
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), max_size=8, unique=True
).map(lambda packed: tuple(Address(each) for each in packed))


@given(
    announced=st.builds(Announced, WORDS, WORDS, ADDRESSES, st.text("abc.", max_size=63)),
    status=st.sampled_from(MemberStatus),
    places=st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(tuple),
    reason=st.text("abc x", max_size=200),
)
def test_round_trip(
    announced: Announced, status: MemberStatus, places: tuple[str, ...], reason: str
) -> None:
    """What is encoded is decoded the same."""
    member = Member(announced, status, places if announced.addresses else (), reason)
    assert member == Member.decode(member.encode())


@pytest.mark.parametrize(
    "parts",
    [
        {"operator": "x" * 64},
        {"region": "two\nlines"},
        {"addresses": (ADDRESS, ADDRESS)},
        {"addresses": tuple(Address(bytes([192, 0, 2, n])) for n in range(9))},
        {"nsid": "é"},
    ],
)
def test_what_no_mirror_is(parts: dict[str, object]) -> None:
    """What a mirror says of itself is bounded."""
    with pytest.raises(Problem):
        Announced(**parts)  # type: ignore[arg-type]


def test_nobody_stands_in_the_set_without_an_address() -> None:
    """Nor at two places of one name, nor at one that is no label."""
    with pytest.raises(MalformedError):
        Member(places=("a",))
    for places in (("a", "a"), ("a.b",), ("",)):
        with pytest.raises(MalformedError):
            Member(Announced(addresses=(ADDRESS,)), places=places)


@pytest.mark.parametrize("key", [b"", b"A", b"a.b", b"-a", b"\xff", b"x" * 64])
def test_keys_are_names(key: bytes) -> None:
    """One label, as in a certificate."""
    assert "m1" == member_name(member_key("m1"))
    with pytest.raises(MalformedError):
        member_name(key)
