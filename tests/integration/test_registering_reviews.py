"""Staying true, over real names and mail, in the time of a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from node.lookup.whois import answer
from node.times import time_text
from primary.changes import SetStatus
from primary.checkpoint_file import CheckpointFile
from primary.desk.adopting import Adopter
from primary.desk.looking import Looker
from primary.desk.reviews import LOOKUPS
from primary.desk.servers import Lookups, Servers
from primary.lookup_feed import LookupFeed
from primary.registering.findings import Finding
from primary.registering.judging import Subject
from primary.registering.pacing import Pace
from primary.registering.proof_records import pointer_name
from primary.registering.reviewing import DAYS_TO_LAPSE, GRACE_DAYS, MIN_LAPSES_A_DAY
from primary.registering.schedule import DAY_MS, HOUR_MS, TRIAL_MS
from registry.address import Address
from registry.decision import SetLapses, SetPolicy
from registry.kinds import Status
from registry.root import DAY
from tests.support.bureau import BOARD, QUERIES_A_SECOND, Applicant, Bureau, open_bureau
from tests.support.internet import REVERSE, SIGNED, Internet, internet, text_of
from tests.support.wait import wait_until

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


def failing(bureau: Bureau, *people: Applicant) -> list[str]:
    """Where a look found something wrong."""
    return [
        person.address
        for person in people
        if (standing := bureau.book.standings.get(Address.parse(person.address), person.holder_id))
        and standing.failed_days
    ]


def status(bureau: Bureau, person: Applicant) -> Status:
    registered = bureau.registered(person)
    assert registered is not None
    return registered.status


def verified_ms(bureau: Bureau, person: Applicant) -> int:
    """As the primary's pages and lookups read it."""
    address = Address.parse(person.address)
    return bureau.log.store.reader.verified_ms(address, person.holder_id)


def told_by_whois(bureau: Bureau, person: Applicant) -> dict[str, str]:
    """What WHOIS at the primary answers about the address, from its database."""
    checkpoint = CheckpointFile(bureau.log.checkpoint_path)
    feed = LookupFeed(bureau.log.store.reader, checkpoint, 0.01, bureau.now)
    feed.start()
    wait_until(lambda: feed.directory is not None, seconds=10, what="the register is loaded")
    lines = answer(person.address, feed.directory, "smtpnic.example").splitlines()
    feed.stop()
    return {label: text.strip() for label, _, text in (line.partition(":") for line in lines)}


def test_it_lapses_is_mended_and_comes_back(bureau: Bureau, net: Internet) -> None:
    """Three bad days; the holder hears of each step, and the log only of what changes."""
    ann = bureau.applicant()
    activate(bureau, ann)
    size = bureau.log.sequencer.head.size
    for _ in range(4):
        bureau.round(STEP_MS)
        assert verified_ms(bureau, ann) == bureau.now()
    assert bureau.log.sequencer.head.size == size
    last_good_ms = bureau.now()

    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE - 1):
        bureau.round(STEP_MS)
        assert status(bureau, ann) is Status.ACTIVE
    bureau.mailboxes.wait_letter(ann.mailbox, "please look")
    bureau.round(STEP_MS)
    assert verified_ms(bureau, ann) == last_good_ms
    assert told_by_whois(bureau, ann)["verified"] == time_text(last_good_ms)
    registered = bureau.registered(ann)
    assert registered is not None
    # The log tells of the end of the first week, and not of all looks since.
    assert registered.verified_ms < last_good_ms
    assert registered.status is Status.LAPSED
    assert registered.reason.startswith("no PTR record")
    letters = [text_of(letter) for letter in bureau.mailboxes.to(ann.mailbox)]
    warned = [text for text in letters if "please look" in text]
    assert ["day 1 of 3" in warned[0], "day 2 of 3" in warned[1]] == [True, True]
    letter = bureau.mailboxes.wait_letter(ann.mailbox, "has lapsed")
    assert ann.address in text_of(letter)
    last_day = datetime.fromtimestamp((bureau.now() + GRACE_DAYS * DAY_MS) / 1000, UTC)
    assert f"until {last_day:%Y-%m-%d %H:%M} UTC" in text_of(letter)

    net.name(ann.address, ann.host)
    bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.ACTIVE
    bureau.mailboxes.wait_letter(ann.mailbox, "is back")


def test_what_is_not_mended_ends(bureau: Bureau, net: Internet) -> None:
    """After the grace time nobody looks any more; the holder is told, and may register it again."""
    ann = bureau.applicant()
    activate(bureau, ann)
    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE):
        bureau.round(STEP_MS)
    bureau.round(GRACE_DAYS * DAY_MS)
    bureau.round()

    assert bureau.book.standings.get(Address.parse(ann.address), ann.holder_id) is None
    bureau.mailboxes.wait_letter(ann.mailbox, "stays lapsed")
    net.name(ann.address, ann.host)
    bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.LAPSED
    assert bureau.register(ann).index is not None
    assert status(bureau, ann) is Status.NEW


def test_what_is_new_lapses_too(bureau: Bureau, net: Internet) -> None:
    """Names that break in the first week are three bad days like any; mended, a week begins."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    net.greet(ann.address, f"ESMTP {report.application.address_token}")
    bureau.round(3 * DAY_MS)
    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    days = 0
    while status(bureau, ann) is Status.NEW:
        bureau.round(STEP_MS)
        days += 1
    bureau.mailboxes.wait_letter(ann.mailbox, "day 2 of 3")
    bureau.mailboxes.wait_letter(ann.mailbox, "has lapsed")
    assert status(bureau, ann) is Status.LAPSED
    # Three looks, and before the first of them one may not have been due.
    assert DAYS_TO_LAPSE <= days <= DAYS_TO_LAPSE + 2

    net.name(ann.address, ann.host)
    bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.NEW
    bureau.mailboxes.wait_letter(ann.mailbox, "begins again")
    for _ in range(TRIAL_MS // DAY_MS - 1):
        bureau.round(DAY_MS)
    assert status(bureau, ann) is Status.NEW
    bureau.round(DAY_MS)
    assert status(bureau, ann) is Status.ACTIVE


def test_a_suspension_is_no_way_around_the_first_week(bureau: Bureau, net: Internet) -> None:
    """Lifted, it goes on with its week, and is active when that is over."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    net.greet(ann.address, f"ESMTP {report.application.address_token}")
    address = Address.parse(ann.address)
    bureau.round(2 * DAY_MS)
    for suspended in (Status.SUSPENDED, Status.ACTIVE):
        bureau.log.sequencer.commit([SetStatus(ann.holder_id, address, suspended)])
        bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.NEW
    bureau.round(TRIAL_MS)
    for _ in range(TRIAL_MS // DAY_MS):
        bureau.round(DAY_MS)
    assert status(bureau, ann) is Status.ACTIVE
    assert len(bureau.mailboxes.to(ann.mailbox)) == 2


def test_what_was_suspended_while_lapsed_may_lapse_again(bureau: Bureau, net: Internet) -> None:
    """Lifted, it is active; where its names still do not hold it has three days more."""
    ann = bureau.applicant()
    activate(bureau, ann)
    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE):
        bureau.round(STEP_MS)
    lift = SetStatus(ann.holder_id, Address.parse(ann.address), Status.ACTIVE)
    bureau.log.sequencer.commit([lift])
    bureau.round(STEP_MS)

    assert status(bureau, ann) is Status.LAPSED


def test_what_nobody_looks_at_is_looked_at_again(bureau: Bureau, net: Internet) -> None:
    """A rebuilt database knows of no looks: what was active is taken in, what was new applies."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    activate(bureau, ann)
    bureau.register(bob)
    for person in (ann, bob):
        bureau.book.standings.end(Address.parse(person.address), person.holder_id)
    adopter = Adopter(
        bureau.book,
        clerk=bureau.clerk,
        clock=bureau.now,
        dice=Random(5),
        board=lambda: bureau.board,
    )

    assert [1, 0] == [bureau.run(adopter.once()) for _ in range(2)]

    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE):
        bureau.round(STEP_MS)
    assert status(bureau, ann) is Status.LAPSED
    # Nobody knows how far its week was: it is shown anew, and the week begins.
    report = bureau.begin(bob, contact=())
    assert report.index is None
    bureau.connect(report)
    assert bureau.check(report, bob).index is not None
    assert [bureau.begin(bob, contact=()).index is not None, 0] == [
        True,
        bureau.run(adopter.once()),
    ]
    for _ in range(TRIAL_MS // DAY_MS + 1):
        net.greet(bob.address, f"ESMTP {report.application.address_token}")
        bureau.round(DAY_MS)
    assert status(bureau, bob) is Status.ACTIVE


def test_the_boards_policy_says_how_often(bureau: Bureau, net: Internet) -> None:
    """Every ten days: a name that breaks is not missed for a week, and then is looked at every day;
    every day again: who was put off for longer is looked at within one, after a restart too."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    activate(bureau, ann, bob)
    bureau.decide(SetPolicy("reverification-seconds", 10 * DAY))
    bureau.round(STEP_MS)
    net.put(pointer_name(Address.parse(ann.address)), "PTR")
    for _ in range(5):
        bureau.round(STEP_MS)
    assert [] == failing(bureau, ann, bob)
    for _ in range(5 + DAYS_TO_LAPSE):
        bureau.round(STEP_MS)
    assert (Status.LAPSED, Status.ACTIVE) == (status(bureau, ann), status(bureau, bob))

    # Where nothing is known of the policy before, as after a restart, and where it changes.
    net.put(pointer_name(Address.parse(bob.address)), "PTR")
    bureau.round()
    bureau.decide(SetPolicy("reverification-seconds", DAY))
    bureau.reopen()
    bureau.round()
    bureau.round(STEP_MS)
    assert [bob.address] == failing(bureau, bob)


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
    """More in a day than a few, or one in two hundred: it stops until the board has decided."""
    people = [bureau.applicant(f"p{number}") for number in range(MIN_LAPSES_A_DAY + 1)]
    activate(bureau, *people)
    for person in people:
        net.put(pointer_name(Address.parse(person.address)), "PTR")
    for _ in range(DAYS_TO_LAPSE):
        bureau.round(STEP_MS)

    statuses = [status(bureau, person) for person in people]
    assert statuses.count(Status.LAPSED) == MIN_LAPSES_A_DAY
    assert bureau.held_back == 1
    bureau.mailboxes.wait_letter(BOARD, "1 lapses are held back: please decide")
    # Not for a day, if it comes to that; and not while the board says no.
    bureau.decide(SetLapses(False, bureau.now() // 1000 + 7 * DAY))
    bureau.round(STEP_MS)
    assert bureau.held_back == 1
    assert len(bureau.mailboxes.to(BOARD)) == 1
    bureau.decide(SetLapses(True, bureau.now() // 1000 + 7 * DAY))
    bureau.round(3 * HOUR_MS)
    assert {status(bureau, person) for person in people} == {Status.LAPSED}
    assert bureau.held_back == 0


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


class RecordingPace(Pace):
    """Says whose turns were asked for, and for how many queries."""

    def __init__(self) -> None:
        super().__init__(QUERIES_A_SECOND)
        self.turns: list[tuple[str, int]] = []
        self.charged: list[tuple[str, int]] = []

    def turn(self, server: str, queries: int, now: float) -> float | None:
        self.turns.append((server, queries))
        return super().turn(server, queries, now)

    def charge(self, server: str, queries: int, now: float) -> None:
        self.charged.append((server, queries))
        super().charge(server, queries, now)


def test_each_resolvers_query_counts_at_the_name_server(bureau: Bureau, net: Internet) -> None:
    """Domains of one zone have the turns of one server, of which SOA records tell, once a day."""
    people = [bureau.applicant(f"p{number}") for number in range(3)]
    subjects = [
        Subject(bytes(16), Address.parse(one.address), one.host, one.domain) for one in people
    ]
    pace = RecordingPace()
    servers = Servers(bureau.looker.resolvers, pace)

    async def look() -> None:
        for subject in subjects:
            assert await servers.turn(subject, LOOKUPS)
        await servers.turn(subjects[0], Lookups(reverse=4, forward=2))
        await servers.charge(subjects[0], 3)

    bureau.run(look())
    reverse, forward = f"ns.{REVERSE}.", f"ns.{SIGNED}."
    assert len(net.resolvers) == 3
    assert pace.turns == [(reverse, 3), (forward, 3)] * 3 + [(reverse, 12), (forward, 6)]
    # One question for each zone, what the turns are worth, and what mirrors ask.
    asked = [(server, 1) for server in (reverse, *[forward] * 3)]
    assert sorted(pace.charged) == sorted([*pace.turns, *asked, (reverse, 3), (forward, 3)])
