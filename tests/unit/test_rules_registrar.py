"""What the primary does by itself, once it was shown: in the log, and replayed as mirrors do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from primary.changes import Admit, ReplaceKey, SetStatus, Withdraw
from registry.address import Address
from registry.kinds import Kind, Status
from tests.support.sequencing import START_MS, Log, Person, new_log

ME, OTHER = Person("me"), Person("other", host="mx.example.net", domain="example.net")
HOME = "198.18.0.1"
LATER_MS = START_MS + 1_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """I and another are holders; I have HOME."""
    log = new_log(tmp_path)
    log.versions(ME.create(), OTHER.create(), admit(ME, HOME))
    yield log
    log.close()


def admit(person: Person, address: str, replaces: Person | None = None, host: str = "") -> Admit:
    return Admit(
        person.holder_id,
        person.key,
        Address.parse(address),
        host or person.host,
        person.domain,
        replaces=replaces.holder_id if replaces else b"",
    )


def set_status(person: Person, status: Status, reason: str = "", version: int = 0) -> SetStatus:
    return SetStatus(
        person.holder_id, Address.parse(HOME), status, reason, expected_version=version
    )


def counts(log: Log) -> dict[str, int]:
    with log.connect() as connection:
        rows = connection.execute("SELECT holder_id, registrations FROM accounts").fetchall()
    names = {person.holder_id: person.name for person in (ME, OTHER)}
    return {names[holder_id]: count for holder_id, count in rows}


def test_a_takeover_is_a_registration_of_another_holder(log: Log) -> None:
    """New names, new age, status new; each holder has as many registrations as it has."""
    log.now_ms = LATER_MS
    log.versions(admit(OTHER, HOME, replaces=ME))

    now = log.registered(HOME)
    assert now is not None
    assert (now.holder_id, now.host, now.status, now.registered_ms) == (
        OTHER.holder_id,
        OTHER.host,
        Status.NEW,
        LATER_MS,
    )
    assert counts(log) == {"me": 0, "other": 1}
    assert log.codes(ME.withdraw(HOME)) == ["not_yours"]


def test_a_takeover_names_whom_it_replaces(log: Log) -> None:
    """Between the look and the decision the address may have changed hands."""
    assert log.codes(admit(OTHER, HOME), admit(OTHER, HOME, replaces=OTHER)) == ["version"] * 2
    assert log.codes(admit(OTHER, "198.18.0.2", replaces=ME)) == ["version"]
    assert counts(log) == {"me": 1, "other": 0}


def test_other_names_leave_the_age(log: Log) -> None:
    """The same address of the same holder; what lapsed is new again."""
    log.now_ms = LATER_MS
    log.versions(set_status(ME, Status.ACTIVE), admit(ME, HOME, ME, "mx2.example.org"))
    now = log.registered(HOME)
    assert now is not None
    assert (now.host, now.status, now.registered_ms) == (
        "mx2.example.org",
        Status.ACTIVE,
        START_MS,
    )
    log.versions(set_status(ME, Status.LAPSED, "no PTR record"), admit(ME, HOME, ME))
    now = log.registered(HOME)
    assert now is not None
    assert (now.status, now.reason) == (Status.NEW, "")


def test_the_log_tells_when_the_proofs_held(log: Log) -> None:
    """When it was admitted, became active or came back; what only says the same is no entry."""

    def verified_ms() -> int:
        now = log.registered(HOME)
        assert now is not None
        return now.verified_ms

    assert verified_ms() == START_MS
    version = log.versions(admit(ME, HOME, ME))[0]
    told = []
    for step, status in enumerate((Status.ACTIVE, Status.LAPSED, Status.ACTIVE), 1):
        log.now_ms = START_MS + step * 1000
        changed = log.versions(set_status(ME, status))[0]
        assert changed > version
        version = changed
        told.append(verified_ms() - START_MS)
    assert told == [1000, 1000, 3000]

    log.now_ms = LATER_MS
    assert log.versions(set_status(ME, Status.ACTIVE), admit(ME, HOME, ME)) == [version] * 2
    assert verified_ms() == START_MS + 3000
    log.versions(admit(ME, HOME, ME, "mx2.example.org"))
    assert verified_ms() == LATER_MS
    # Names that nobody has looked at.
    log.versions(ME.update(HOME, "mx3.example.org"))
    assert verified_ms() == 0


def test_an_admission_needs_the_holders_key(log: Log) -> None:
    """The proofs are of the address; the key is of the holder."""
    change = Admit(OTHER.holder_id, ME.key, Address.parse(HOME), OTHER.host, OTHER.domain)

    assert log.codes(change) == ["not_yours"]


def test_a_status_is_set_on_what_was_seen(log: Log) -> None:
    """A status that the board gave meanwhile stays."""
    version = log.versions(set_status(ME, Status.ACTIVE))[0]

    assert log.codes(set_status(ME, Status.LAPSED, "x", version - 1)) == ["version"]
    assert log.codes(set_status(OTHER, Status.LAPSED)) == ["not_found"]
    assert log.versions(set_status(ME, Status.ACTIVE)) == [version]


def test_a_replaced_key_is_the_only_one(log: Log) -> None:
    """The contact stays, under fresh salts; the old key opens nothing."""
    before = log.store.reader.get(Kind.HOLDER, ME.holder_id)
    log.versions(ReplaceKey(ME.holder_id, OTHER.key))
    after = log.store.reader.get(Kind.HOLDER, ME.holder_id)

    assert before is not None
    assert after is not None
    assert [one.value for one in before.openings] == [one.value for one in after.openings]
    assert {one.salt for one in before.openings}.isdisjoint({one.salt for one in after.openings})
    assert log.codes(ME.withdraw(HOME)) == ["not_yours"]
    assert log.codes(Withdraw(ME.holder_id, OTHER.key, Address.parse(HOME))) == [""]
    assert counts(log) == {"me": 0, "other": 0}
