"""Staying true, over real names and mail, in the time of a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from primary.desk.looking import Looker
from primary.registering.findings import Finding
from primary.registering.judging import Subject
from primary.registering.proof_records import pointer_name
from primary.registering.reviewing import DAYS_TO_LAPSE, MIN_LAPSES_A_DAY
from primary.registering.schedule import DAY_MS, TRIAL_MS
from registry.address import Address
from registry.kinds import Status
from tests.support.bureau import Applicant, Bureau, open_bureau
from tests.support.internet import Internet, internet, text_of

# Longer than the longest time between two looks.
STEP_MS = 5 * DAY_MS // 4


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as net:
        yield net


@pytest.fixture
def bureau(tmp_path: Path, net: Internet) -> Iterator[Bureau]:
    with open_bureau(tmp_path, net) as bureau:
        yield bureau


def activate(bureau: Bureau, *people: Applicant) -> None:
    for person in people:
        report = bureau.register(person)
        bureau.net.greet(person.address, f"ESMTP {report.application.address_token}")
    for _ in range(TRIAL_MS // DAY_MS + 1):
        bureau.round(DAY_MS)
    assert {status(bureau, person) for person in people} == {Status.ACTIVE}


def status(bureau: Bureau, person: Applicant) -> Status:
    registered = bureau.registered(person)
    assert registered is not None
    return registered.status


def test_it_lapses_is_mended_and_comes_back(bureau: Bureau, net: Internet) -> None:
    """Three bad days; the holder hears of each step, and the log only of what changes."""
    ann = bureau.applicant()
    activate(bureau, ann)
    size = bureau.log.sequencer.head.size
    for _ in range(4):
        bureau.round(STEP_MS)
    assert bureau.log.sequencer.head.size == size

    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE - 1):
        bureau.round(STEP_MS)
        assert status(bureau, ann) is Status.ACTIVE
    bureau.mailboxes.wait_letter(ann.mailbox, "please look")
    bureau.round(STEP_MS)
    registered = bureau.registered(ann)
    assert registered is not None
    assert registered.status is Status.LAPSED
    assert registered.reason.startswith("no PTR record")
    letter = bureau.mailboxes.wait_letter(ann.mailbox, "has lapsed")
    assert ann.address in text_of(letter)

    net.name(ann.address, ann.host)
    bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.ACTIVE
    bureau.mailboxes.wait_letter(ann.mailbox, "is back")


def test_resolvers_that_fail_let_nothing_lapse(bureau: Bureau, net: Internet) -> None:
    """Without a majority nothing is known, for however many days."""
    ann = bureau.applicant()
    activate(bureau, ann)
    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for number in (0, 1):
        net.stop_resolver(number)
    for _ in range(DAYS_TO_LAPSE + 1):
        bureau.round(STEP_MS)

    assert status(bureau, ann) is Status.ACTIVE


def test_many_at_once_are_held_back(bureau: Bureau, net: Internet) -> None:
    """More in a day than a few, or one in two hundred: it stops, and says so."""
    people = [bureau.applicant(f"p{number}") for number in range(MIN_LAPSES_A_DAY + 1)]
    activate(bureau, *people)
    for person in people:
        net.put(pointer_name(Address.parse(person.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE):
        bureau.round(STEP_MS)

    statuses = [status(bureau, person) for person in people]
    assert statuses.count(Status.LAPSED) == MIN_LAPSES_A_DAY
    assert bureau.halts[-1] is True


def test_what_cannot_be_looked_at_keeps_nobody_from_the_others(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault at one registration is put off with it, and the round goes on."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    for person in (ann, bob):
        report = bureau.register(person)
        bureau.net.greet(person.address, f"ESMTP {report.application.address_token}")
    names = Looker.names

    async def fail_at_ann(looker: Looker, subject: Subject) -> list[Finding]:
        if str(subject.address) == ann.address:
            raise RuntimeError("a name that nobody thought of")
        return await names(looker, subject)

    monkeypatch.setattr(Looker, "names", fail_at_ann)
    for _ in range(TRIAL_MS // DAY_MS + 1):
        bureau.round(DAY_MS)

    assert (status(bureau, ann), status(bureau, bob)) == (Status.NEW, Status.ACTIVE)
