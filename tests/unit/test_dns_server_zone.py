"""The small zone that the name servers stand in, answered from the members in the log."""

from __future__ import annotations

import dns.rcode
import pytest

from registry.address import Address
from registry.member import MAX_ADDRESSES_PER_PLACE, Announced, Member
from secondary.dns.implementation import Implementation
from secondary.dns.table import DictTable
from tests.support.fast_path import MEMBERS, Both
from tests.support.responding import ask, four_zones, make_responder, texts
from tests.support.views import put_member, standing

NOERROR, NXDOMAIN = dns.rcode.NOERROR, dns.rcode.NXDOMAIN


def table_of(members: dict[str, Member]) -> DictTable:
    """A table with these members and no registration."""
    table = DictTable()
    for name, member in members.items():
        put_member(table, name, member)
    table.advance(standing())
    return table


def answers(name: str, type_: str, members: dict[str, Member]) -> tuple[int, list[str]]:
    """The response code and answer section."""
    found = ask(name, type_, responder=make_responder(table_of(members), zones=four_zones()))
    return found.rcode(), sorted(rdata.to_text() for each in found.answer for rdata in each)


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("a.ns.nic.example.", "A", ["192.0.2.11", "192.0.2.12"]),
        ("a.ns.nic.example.", "AAAA", ["2001:db8::11"]),
        ("b.ns.nic.example.", "A", ["192.0.2.12"]),
        ("b.ns.nic.example.", "AAAA", []),
        ("ns.nic.example.", "A", []),
        ("ns1.nic.example.", "A", ["192.0.2.1"]),
        ("nic.example.", "NS", ["ns1.nic.example.", "ns2.example.net."]),
    ],
)
def test_what_the_log_says(name: str, type_: str, expected: list[str]) -> None:
    """Each name has the addresses of the members that stand there, and of no other."""
    assert (NOERROR, expected) == answers(name, type_, MEMBERS)


@pytest.mark.parametrize("name", ["c.ns.nic.example.", "x.a.ns.nic.example.", "x.nic.example."])
def test_other_names_do_not_exist(name: str) -> None:
    """Nor do names below a server's."""
    assert (NXDOMAIN, []) == answers(name, "A", MEMBERS)


def test_an_empty_name_has_the_stable_servers() -> None:
    """A register without a set, or whose set was emptied, is found all the same (P3)."""
    assert (NOERROR, ["192.0.2.1", "192.0.2.2"]) == answers("a.ns.nic.example.", "A", {})
    assert (NOERROR, ["2001:db8::1"]) == answers("b.ns.nic.example.", "AAAA", {})


def test_an_answer_has_eight_addresses_at_most() -> None:
    """Whatever the log holds, so that it fits 512 bytes."""
    members = {
        f"m{number}": Member(
            Announced(addresses=(Address.parse(f"192.0.2.{number}"),)), places=("a",)
        )
        for number in range(1, 12)
    }
    assert MAX_ADDRESSES_PER_PLACE == len(answers("a.ns.nic.example.", "A", members)[1])


def test_a_minute_for_what_is_not_there_and_five_for_what_is() -> None:
    """TTLs: 300 seconds for addresses."""
    found = ask(
        "b.ns.nic.example.", responder=make_responder(table_of(MEMBERS), zones=four_zones())
    )
    assert ["b.ns.nic.example. 300 IN A 192.0.2.12"] == texts(found)


@pytest.mark.parametrize("implementation", list(Implementation))
def test_tables_tell_members_apart(implementation: Implementation) -> None:
    """Both implementations keep the same members, and forget them."""
    one, other = Both(implementation).table, Both(implementation).table
    assert one.agrees_with(other)  # type: ignore[arg-type]
    put_member(other, "m1", None)
    assert not one.agrees_with(other)  # type: ignore[arg-type]
    assert () == other.members.addresses("a", 6)
