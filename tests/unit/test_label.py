"""Addresses as DNS labels, in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.label import dashed, parse_dashed, parse_reversed, reversed_name, reversed_ranges
from tests.support.strategies import addresses

IPV4 = Address.parse("192.0.2.36")
IPV6 = Address.parse("2001:db8::24")


def test_the_dashed_form() -> None:
    """Dots become dashes; IPv6 has all eight groups with four digits each."""
    assert dashed(IPV4) == "192-0-2-36"
    assert dashed(IPV6) == "2001-0db8-0000-0000-0000-0000-0000-0024"


def test_the_reversed_form() -> None:
    """RFC 5782, 2.1 and 2.4: octets, or nibbles for IPv6, the last one first."""
    assert reversed_name(IPV4) == "36.2.0.192"
    assert reversed_name(IPV6) == "4.2." + "0." * 22 + "8.b.d.0.1.0.0.2"


@given(addresses)
def test_both_forms_lead_back(address: Address) -> None:
    """Each form of an address parses to that address."""
    assert parse_dashed(dashed(address)) == address
    assert parse_reversed(reversed_name(address).split(".")) == address


@given(addresses)
def test_both_forms_fit_dns(address: Address) -> None:
    """The dashed form is one label of 63 octets at most, in letters, digits and hyphens."""
    label = dashed(address)

    assert len(label) <= 63
    assert label.replace("-", "").isalnum()
    assert label == label.lower()


@given(st.text("0123456789abcdefg-", max_size=45))
def test_only_the_canonical_label_is_parsed(label: str) -> None:
    """A label that parses is the one its address is written as."""
    address = parse_dashed(label)

    assert address is None or dashed(address) == label


@given(st.text(max_size=45))
def test_any_text_is_a_label_or_none(label: str) -> None:
    """Arbitrary text never raises."""
    address = parse_dashed(label)

    assert address is None or dashed(address) == label


@given(st.lists(st.one_of(st.text(max_size=3), st.sampled_from("0123456789abcdef")), max_size=40))
def test_any_labels_are_a_reversed_name_or_none(labels: list[str]) -> None:
    """Arbitrary labels never raise, and only the canonical ones are parsed."""
    address = parse_reversed(labels)

    assert address is None or reversed_name(address).split(".") == labels


@pytest.mark.parametrize(
    "label",
    [
        "",
        "192-0-2",
        "192-0-2-36-1",
        "192-0-2-036",
        "192-0-2-256",
        "192-0-2--36",
        "192-0-2-+36",
        "192-0-2-٣",
        "2001-db8-0-0-0-0-0-24",
        "2001-0DB8-0000-0000-0000-0000-0000-0024",
        "2001-0db8-0000-0000-0000-0000-00000-024",
        "2001-0db8-0000-0000-0000-0000-0000-002g",
        "2001-0db8-0000-0000-0000-0000-0000-0024-0000",
    ],
)
def test_another_spelling_is_no_label(label: str) -> None:
    """Leading zeros, capitals and missing groups are names that do not exist."""
    assert parse_dashed(label) is None


@pytest.mark.parametrize(
    "text", ["2.0.192", "036.2.0.192", "36.2.0.192.1", "A" + ".0" * 31, "10" + ".0" * 31]
)
def test_another_spelling_is_no_reversed_name(text: str) -> None:
    """Leading zeros, capitals and missing labels are names that do not exist."""
    assert parse_reversed(text.split(".")) is None


@given(addresses, st.integers(1, 31), addresses)
def test_ranges_hold_exactly_what_stands_below(
    address: Address, depth: int, other: Address
) -> None:
    """An address is in a range exactly if its reversed name ends with the labels."""
    labels = reversed_name(address).split(".")[-depth:]
    ranges = reversed_ranges(labels)
    for candidate in (address, other):
        below = reversed_name(candidate).split(".")
        is_below = len(below) > len(labels) and below[-len(labels) :] == labels
        assert is_below == any(
            first.family == candidate.family and first <= candidate <= last
            for first, last in ranges
        )


@pytest.mark.parametrize("labels", [[], ["x"], ["256"], ["01"], ["1", "2", "3", "400"], ["f"] * 32])
def test_nothing_stands_below_what_is_no_part_of_a_reversed_name(labels: list[str]) -> None:
    """Nor below a whole IPv6 address, or the origin itself."""
    assert not reversed_ranges(labels)
