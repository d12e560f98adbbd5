"""What is counted of registrations: by day, by status, by age, and whatever way it is added up."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.entry import Entry
from registry.kinds import Kind, Operation, Status
from registry.registration import Registration
from registry.statistics import DAY_MS, Age, Day, Tally, Totals, ages, history, tally_log

HOLDER = bytes(16)
ADDRESSES = [Address.parse(text).packed for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1")]


def registration(domain: str = "example.org", *, day: int = 100) -> Registration:
    return Registration(HOLDER, f"mail.{domain}", domain, Status.NEW, day * DAY_MS)


def entry(address: bytes, time_ms: int, after: Registration | None) -> bytes:
    operation = Operation.DELETE if after is None else Operation.PUT
    payload = after.encode() if after else b""
    return Entry(Kind.REGISTRATION, address, operation, True, time_ms, payload).encode()


def test_a_life_is_counted_day_by_day() -> None:
    """Registered, active a week later, suspended, withdrawn; beside one of IPv6 that stays."""
    first, other = registration(), registration("example.net", day=107)
    active = replace(first, status=Status.ACTIVE)
    suspended = replace(first, status=Status.SUSPENDED)
    tally = tally_log(
        [
            entry(ADDRESSES[0], 100 * DAY_MS, first),
            entry(ADDRESSES[0], 107 * DAY_MS, active),
            entry(ADDRESSES[2], 107 * DAY_MS + 1, other),
            entry(ADDRESSES[0], 108 * DAY_MS, suspended),
            entry(ADDRESSES[0], 109 * DAY_MS, None),
        ]
    )

    none = Totals()
    one_new = Totals(new=1)
    assert [
        Day(100, 1, 0, 0, 0, 0, one_new, none, 0),
        Day(107, 1, 0, 1, 0, 0, Totals(active=1), one_new, 0),
        Day(108, 0, 0, 0, 0, 1, Totals(suspended=1), one_new, 0),
        Day(109, 0, 1, 0, 0, 0, none, one_new, 1),
    ] == history(tally.changes)
    assert {"example.net": 1} == tally.domains


def test_ages_count_from_the_day_of_registering() -> None:
    """Who has moved to another holder begins anew; who has gone is not counted."""
    tally = Tally()
    old, young = registration(day=100), registration(day=900)
    tally.count(ADDRESSES[0], None, old, old.registered_ms)
    tally.count(ADDRESSES[1], None, old, old.registered_ms)
    tally.count(ADDRESSES[0], old, young, young.registered_ms)

    assert [
        Age(7, 1),
        Age(30, 0),
        Age(90, 0),
        Age(365, 0),
        Age(1095, 1),
        Age(None, 0),
    ] == ages(tally.changes, 903)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ADDRESSES),
            st.integers(0, 3),
            st.none() | st.tuples(st.sampled_from(Status), st.sampled_from(["a.org", "b.org"])),
        ),
        max_size=30,
    )
)
def test_the_counts_are_those_of_what_is_there(
    steps: list[tuple[bytes, int, tuple[Status, str] | None]],
) -> None:
    """Whatever happens, and cut into commits anyhow: totals, ages and domains are of the live."""
    live: dict[bytes, Registration] = {}
    day, changes = 100, []
    domains: dict[str, int] = {}
    for address, days, wanted in steps:
        day += days
        before = live.pop(address, None)
        if wanted is None and before is None:
            continue
        after = None
        if wanted is not None:
            made = before or registration(day=day)
            after = replace(made, status=wanted[0], domain=wanted[1], host=f"mail.{wanted[1]}")
            live[address] = after
        tally = Tally()
        tally.count(address, before, after, day * DAY_MS)
        changes += tally.changes
        for domain, more in tally.domains.items():
            domains[domain] = domains.get(domain, 0) + more

    days_ = history(changes)
    totals = days_[-1].totals if days_ else Totals()
    statuses = [registration.status for registration in live.values()]
    assert len(live) == totals.all
    assert [statuses.count(status) for status in Status] == [
        totals.new,
        totals.active,
        totals.lapsed,
        totals.suspended,
    ]
    assert len(live) == sum(age.registrations for age in ages(changes, day))
    assert {r.domain for r in live.values()} == {name for name, count in domains.items() if count}
