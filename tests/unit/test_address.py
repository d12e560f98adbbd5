"""Addresses: strict in, canonical out, and which of them no public mail server can have."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.errors import Problem
from tests.support.strategies import addresses


@given(addresses)
def test_text_and_address_are_one_to_one(address: Address) -> None:
    """The canonical text parses to the address that wrote it."""
    assert Address.parse(str(address)) == address


@given(addresses)
def test_the_text_is_read_alike_by_the_operating_system(address: Address) -> None:
    """The canonical text means the same bytes to inet_pton."""
    family = socket.AF_INET if address.family == 4 else socket.AF_INET6

    assert socket.inet_pton(family, str(address)) == address.packed


@given(st.text(max_size=50))
def test_any_text_is_an_address_or_a_problem(text: str) -> None:
    """Parsing arbitrary text gives an address or a Problem, and nothing else."""
    try:
        address = Address.parse(text)
    except Problem:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.036",
        " 192.0.2.36",
        "192.0.2.36\n",
        "192.0.2.36/32",
        "0xc0000224",
        "3221225508",
        "١٩٢.0.2.36",
        "2001:db8::1%eth0",
        "2001:db8::/64",
        "2001:db8:::1",
        "[2001:db8::1]",
        "mail.example.org",
    ],
)
def test_what_is_not_strictly_an_address_is_refused(text: str) -> None:
    """Leading zeros, spaces, zones, prefixes and other people's notations are refused."""
    with pytest.raises(Problem) as caught:
        Address.parse(text)
    assert (caught.value.code, caught.value.field) == ("address", "address")


# RFC 5952, sections 4 and 5.
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2001:0db8::0001", "2001:db8::1"),
        ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:DB8::ABCD", "2001:db8::abcd"),
        ("::ffff:c000:224", "::ffff:192.0.2.36"),
    ],
)
def test_the_text_is_that_of_rfc_5952(text: str, canonical: str) -> None:
    """One spelling for one address, whatever the spelling given."""
    assert str(Address.parse(text)) == canonical


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_other_lengths_are_no_address(length: int) -> None:
    """An address has 4 or 16 bytes."""
    with pytest.raises(ValueError, match="4 or 16"):
        Address(bytes(length))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this network"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "shared"),
        ("127.0.0.2", "loopback"),
        ("169.254.1.1", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.2.36", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.0.1", "private"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::192.0.2.1", "v4-compatible"),
        ("::ffff:8.8.8.8", "v4-mapped"),
        ("64:ff9b::808:808", "NAT64"),
        ("100::1", "discard-only"),
        ("2001::1", "Teredo"),
        ("2001:2::1", "benchmarking"),
        ("2001:20::1", "ORCHID"),
        ("2001:100::1", "protocol assignments"),
        ("2001:db8::24", "documentation"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "reserved"),
        ("fc00::1", "private"),
        ("fdff::1", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
    ],
)
def test_a_special_purpose_has_a_word(text: str, word: str) -> None:
    """Addresses that the IANA registries set apart are told by what for."""
    assert Address.parse(text).special_purpose() == word


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2a00::1",
        "3ffe:ffff::1",
    ],
)
def test_global_unicast_has_no_special_purpose(text: str) -> None:
    """The neighbours of special networks, and ordinary addresses, are public."""
    assert Address.parse(text).special_purpose() is None


@given(addresses)
def test_what_python_calls_private_is_special(address: Address) -> None:
    """Nothing that Python's copy of the IANA registries calls private passes for public."""
    if ipaddress.ip_address(address.packed).is_private:
        assert address.special_purpose() is not None


def test_addresses_sort_by_their_bytes() -> None:
    """The order is that of the packed bytes."""
    unsorted = [Address.parse(text) for text in ("10.0.0.2", "2001:db8::1", "9.0.0.1")]

    assert [str(address) for address in sorted(unsorted)] == ["9.0.0.1", "10.0.0.2", "2001:db8::1"]
