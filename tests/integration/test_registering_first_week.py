"""A first week without proofs ends: over real names and mail, by a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from primary.changes import SetStatus
from primary.desk.terms import Report
from primary.registering.proof_records import domain_record_name
from primary.registering.reviewing import GRACE_DAYS, MIN_LAPSES_A_DAY
from primary.registering.schedule import DAY_MS, GRACE_MS, HOUR_MS, MISSES_TO_LAPSE, TRIAL_MS
from registry.address import Address
from registry.kinds import Status
from tests.support.bureau import Applicant, Bureau, open_bureau
from tests.support.internet import Internet, internet, text_of

NOT_SHOWN = "the address was not shown again in its first week"
# Until a proof that does not come is missed; and all of those that may be.
MISS_DAYS = (TRIAL_MS // 5 + GRACE_MS) // DAY_MS + 1
ENOUGH_DAYS = MISSES_TO_LAPSE * MISS_DAYS


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as net:
        yield net


@pytest.fixture
def bureau(tmp_path: Path, net: Internet) -> Iterator[Bureau]:
    with open_bureau(tmp_path, net) as bureau:
        yield bureau


def status(bureau: Bureau, person: Applicant) -> Status:
    registered = bureau.registered(person)
    assert registered is not None
    return registered.status


def reason(bureau: Bureau, person: Applicant) -> str:
    registered = bureau.registered(person)
    assert registered is not None
    return registered.reason


def misses(bureau: Bureau, person: Applicant) -> int:
    standing = bureau.book.standings.get(Address.parse(person.address), person.holder_id)
    assert standing is not None
    return standing.trial.misses


def subjects(bureau: Bureau, person: Applicant) -> list[str]:
    """What the letters to somebody were about, but for the one to be confirmed."""
    all_of_them = [letter["subject"] for letter in bureau.mailboxes.to(person.mailbox)]
    return [subject.partition(f"{person.address}")[2] for subject in all_of_them[1:]]


def days(bureau: Bureau, number: int) -> None:
    for _ in range(number):
        bureau.round(DAY_MS)
    # What the last of them wrote is sent.
    bureau.round()


def greet(bureau: Bureau, person: Applicant, report: Report) -> None:
    bureau.net.greet(person.address, f"ESMTP {report.application.address_token}")


def test_without_proofs_it_lapses_and_ends(bureau: Bureau) -> None:
    """The third proof in a row that does not come: it lapses, and is looked at for 30 days more. Of
    each step there is one letter that says what to do, and there are no others."""
    ann = bureau.applicant()
    bureau.register(ann)
    days(bureau, ENOUGH_DAYS)

    assert (status(bureau, ann), reason(bureau, ann)) == (Status.LAPSED, NOT_SHOWN)
    begins = ": the week begins again"
    assert [begins, begins, " has lapsed"] == subjects(bureau, ann)
    letters = [text_of(letter) for letter in bureau.mailboxes.to(ann.mailbox)[1:]]
    assert all(f"smtpnic prove {ann.address} --token" in letter for letter in letters)
    assert ["time 1 of 3" in letters[0], "time 2 of 3" in letters[1]] == [True, True]
    days(bureau, GRACE_DAYS + 2)
    assert [begins, begins, " has lapsed", " stays lapsed"] == subjects(bureau, ann)
    assert bureau.book.standings.get(Address.parse(ann.address), ann.holder_id) is None
    assert status(bureau, ann) is Status.LAPSED


@pytest.mark.parametrize("by", ["a connection", "its greeting"])
def test_shown_again_it_comes_back(bureau: Bureau, by: str) -> None:
    """Names that hold do not bring it back, a proof does; then its week begins, and is passed."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    days(bureau, ENOUGH_DAYS)
    bureau.reopen()
    days(bureau, 3)
    assert status(bureau, ann) is Status.LAPSED

    if by == "a connection":
        bureau.connect(report)
    else:
        greet(bureau, ann, report)
    days(bureau, 2)
    assert (status(bureau, ann), misses(bureau, ann)) == (Status.NEW, 0)
    letter = text_of(bureau.mailboxes.wait_letter(ann.mailbox, "is back"))
    assert "first week was not over, and begins again" in letter
    greet(bureau, ann, report)
    days(bureau, TRIAL_MS // DAY_MS)
    assert status(bureau, ann) is Status.ACTIVE


def test_a_proof_makes_up_for_those_that_did_not_come(bureau: Bureau) -> None:
    """Three in a row it takes: whoever is late again and again stays new."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    for _ in range(2):
        while misses(bureau, ann) < MISSES_TO_LAPSE - 1:
            days(bureau, 1)
        while misses(bureau, ann):
            bureau.connect(report)
            bureau.log.now_ms += DAY_MS
            bureau.connect(report)
            bureau.round()

    assert status(bureau, ann) is Status.NEW


def test_the_domain_has_to_stay_too(bureau: Bureau, net: Internet) -> None:
    """Where the address is shown and the domain's record is gone, letters and log say so; put back,
    it comes back."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    greet(bureau, ann, report)
    net.put(domain_record_name(ann.domain), "TXT")
    days(bureau, ENOUGH_DAYS)

    missing = f"no such record at {domain_record_name(ann.domain)}"
    assert (status(bureau, ann), reason(bureau, ann)) == (Status.LAPSED, missing)
    letter = text_of(bureau.mailboxes.wait_letter(ann.mailbox, "the week begins again", 2))
    assert "add to the zone" in letter
    bureau.let_in(ann)
    days(bureau, 2)
    assert status(bureau, ann) is Status.NEW


def test_of_many_that_give_up_a_few_lapse_in_a_day(bureau: Bureau) -> None:
    """The others wait for another day, and the board is not asked: people who give up are no sign
    of a fault. Who shows the address meanwhile has lost nothing."""
    people = [bureau.applicant(f"p{number}") for number in range(MIN_LAPSES_A_DAY + 2)]
    reports = [bureau.register(person) for person in people]
    for _ in range(MISSES_TO_LAPSE):
        bureau.round(MISS_DAYS * DAY_MS)
        bureau.round(2 * HOUR_MS)

    kept = [number for number, one in enumerate(people) if status(bureau, one) is Status.NEW]
    assert (len(kept), bureau.held_back) == (2, 0)
    shown, silent = (people[number] for number in kept)
    bureau.connect(reports[kept[0]])
    bureau.round(2 * DAY_MS)
    assert (status(bureau, shown), misses(bureau, shown)) == (Status.NEW, 0)
    assert status(bureau, silent) is Status.LAPSED


def test_what_the_board_puts_back_has_its_first_week_before_it(bureau: Bureau) -> None:
    """What lapsed for want of proofs is new then, and lapses again when as many do not come."""
    ann = bureau.applicant()
    bureau.register(ann)
    days(bureau, ENOUGH_DAYS)
    lift = SetStatus(ann.holder_id, Address.parse(ann.address), Status.ACTIVE)
    bureau.log.sequencer.commit([lift])
    days(bureau, 2)

    assert status(bureau, ann) is Status.NEW
    assert misses(bureau, ann) < MISSES_TO_LAPSE - 1
    days(bureau, ENOUGH_DAYS)
    assert status(bureau, ann) is Status.LAPSED


def test_what_the_log_alone_says_is_lapsed_comes_back(bureau: Bureau) -> None:
    """A kill between the log and the book: the next looks go on from what the log says."""
    ann = bureau.applicant()
    bureau.register(ann)
    lapse = SetStatus(ann.holder_id, Address.parse(ann.address), Status.LAPSED, "not mended")
    bureau.log.sequencer.commit([lapse])
    days(bureau, 2)

    assert status(bureau, ann) is Status.NEW
