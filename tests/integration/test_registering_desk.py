"""Registering over real names and real mail, in the time of a clock that tests turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from primary.desk.terms import Report
from primary.registering.findings import Verdict
from primary.registering.proof_records import domain_record_name, recovery_text
from primary.registering.quotas import CLIENTS_A_SITE, Quotas
from primary.registering.schedule import DAY_MS, GRACE_MS, HOUR_MS, TRIAL_MS
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import ContactField, Kind, Status
from tests.support.bureau import Applicant, Bureau, open_bureau, verdicts
from tests.support.internet import BROKEN, Internet, internet, text_of, token_in
from tests.support.sequencing import contact_with

HELD, FAILED, UNKNOWN = Verdict.HELD, Verdict.FAILED, Verdict.UNKNOWN


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    """One Internet for all tests; each has addresses and domains of its own."""
    with internet() as net:
        yield net


@pytest.fixture
def bureau(tmp_path: Path, net: Internet) -> Iterator[Bureau]:
    """An empty registry that asks for proofs."""
    with open_bureau(tmp_path, net) as bureau:
        yield bureau


def test_a_mail_server_is_registered_once_all_is_shown(bureau: Bureau) -> None:
    """The person gives an address; the names are looked up; each step changes one finding."""
    ann = bureau.applicant()
    report = bureau.begin(ann)
    assert (report.application.host, report.application.domain) == (ann.host, ann.domain)
    assert verdicts(report) == {
        "ptr": HELD,
        "forward": HELD,
        "zone": HELD,
        "domain": FAILED,
        "address": FAILED,
        "email": FAILED,
    }
    bureau.let_in(ann)
    assert verdicts(bureau.check(report, ann))["domain"] is HELD
    bureau.connect(report)
    assert verdicts(bureau.check(report, ann))["address"] is HELD
    assert bureau.registered(ann) is None
    bureau.confirm(ann)
    done = bureau.check(report, ann)

    assert set(verdicts(done).values()) == {HELD}
    assert done.index is not None
    registered = bureau.registered(ann)
    assert registered is not None
    assert (registered.host, registered.domain) == (ann.host, ann.domain)
    assert registered.status is Status.NEW
    notes = {str(finding.condition): finding.note for finding in done.findings}
    assert (notes["forward"], notes["domain"]) == ("DNSSEC: signed and validated",) * 2
    assert notes["ptr"].startswith("DNSSEC: not signed")


def test_nothing_is_in_the_log_before_all_is_shown(bureau: Bureau) -> None:
    """Neither the holder nor its commitments."""
    size = bureau.log.sequencer.head.size
    ann = bureau.applicant()
    report = bureau.begin(ann)
    bureau.connect(report)

    assert bureau.log.sequencer.head.size == size
    assert bureau.log.store.reader.get(Kind.HOLDER, ann.holder_id) is None


def test_each_failed_condition_says_what_to_do(bureau: Bureau, net: Internet) -> None:
    """What was found, what was expected, how to mend it."""
    ann = replace(bureau.applicant(), host="mx.example.net", domain="example.net")
    report = bureau.begin(ann, host=ann.host, domain=ann.domain)

    assert verdicts(report)["ptr"] is FAILED
    assert verdicts(report)["forward"] is FAILED
    for finding in report.findings:
        if finding.verdict is not HELD:
            assert finding.found, finding
            assert finding.expected, finding
            assert finding.mend, finding


def test_names_that_cannot_be_looked_up_are_no_failure(bureau: Bureau, net: Internet) -> None:
    """Name servers that are away: unknown, and the person is told which resolver said what."""
    ann = bureau.applicant()
    report = bureau.begin(ann, host=f"mail.{BROKEN}", domain=BROKEN)

    assert (verdicts(report)["forward"], verdicts(report)["domain"]) == (UNKNOWN, UNKNOWN)


def test_an_address_that_cannot_be_a_mail_servers_is_refused(bureau: Bureau) -> None:
    """Outside of a laboratory: before anything is looked up or kept; it says why."""
    bureau.terms = replace(bureau.terms, lab=False)
    bureau.reopen()
    ann = bureau.applicant()
    for address, why in (
        (ann.address, "loopback"),
        ("192.168.1.1", "private"),
        ("192.0.2.1", "documentation"),
        ("2002::1", "6to4"),
        ("224.0.0.1", "multicast"),
    ):
        with pytest.raises(Problem, match=why) as caught:
            bureau.begin(replace(ann, address=address))
        assert (caught.value.code, caught.value.field) == ("address_special", "address")
    assert bureau.run(bureau.clerk.run(bureau.book.applications.number)) == 0


def test_names_of_the_registry_itself_are_refused(bureau: Bureau) -> None:
    """Everybody would pass with the names that the registry makes."""
    ann = bureau.applicant()
    report = bureau.begin(ann, host="127-0-0-1.smtpnic.example", domain="smtpnic.example")

    assert verdicts(report)["zone"] is FAILED


def test_a_greeting_shows_the_address(bureau: Bureau, net: Internet) -> None:
    """The registry connects to port 25 and finds the token there."""
    ann = bureau.applicant()
    report = bureau.begin(ann)
    net.greet(ann.address, "ESMTP ready")
    assert verdicts(bureau.check(report, ann))["address"] is FAILED
    net.greet(ann.address, f"ESMTP {report.application.address_token}")

    assert verdicts(bureau.check(report, ann))["address"] is HELD


def test_a_reverse_zone_shows_a_whole_network(bureau: Bureau, net: Internet) -> None:
    """One TXT record for those with many: no address of it needs anything more."""
    ann, bob = bureau.applicant(), bureau.applicant()
    bob = replace(bob, name=ann.name)
    net.let_in_network(ann.address, ann.holder_id)
    try:
        report = bureau.begin(ann)
        assert verdicts(report)["address"] is HELD
        bureau.let_in(ann)
        bureau.check(report, ann)
        bureau.confirm(ann)
        assert bureau.check(report, ann).index is not None
        # The holder is known: neither contact nor letter.
        bureau.let_in(bob)
        assert bureau.begin(bob, contact=()).index is not None
    finally:
        net.let_in_network(ann.address, bytes(16))


def test_a_token_counts_only_from_the_address(bureau: Bureau) -> None:
    """Whoever knows it, and is elsewhere, is told from where the connection came."""
    ann = bureau.applicant()
    report = bureau.begin(ann)

    with pytest.raises(Problem, match=r"comes from 127\.0\.0\.9"):
        bureau.connect(report, "127.0.0.9")
    assert verdicts(bureau.check(report, ann))["address"] is FAILED


def test_begin_again_goes_on(bureau: Bureau) -> None:
    """The same application, the same token, no second letter."""
    ann = bureau.applicant()
    bureau.let_in(ann)
    bureau.connect(bureau.begin(ann))
    first, second = bureau.begin(ann), bureau.begin(ann)
    bureau.run(bureau.post.send_due())

    assert first.application == second.application
    assert len(bureau.mailboxes.to(ann.mailbox)) == 1


def test_an_application_is_its_holders(bureau: Bureau) -> None:
    """Another key sees nothing of it."""
    ann, eve = bureau.applicant(), Applicant("eve")
    report = bureau.begin(ann)

    with pytest.raises(Problem) as caught:
        bureau.check(report, eve)
    assert caught.value.code == "not_yours"


def test_an_identifier_is_whose_key_made_it(bureau: Bureau) -> None:
    """All can read it in the domain's record, and nobody else ever becomes that holder by it."""
    ann, eve = bureau.applicant(), Applicant("eve")
    bureau.let_in(ann)

    with pytest.raises(Problem) as caught:
        bureau.begin(ann, management_key=eve.key)
    assert caught.value.code == "holder"


def test_applications_expire(bureau: Bureau) -> None:
    """After a week nothing is left, the contact least of all."""
    ann = bureau.applicant()
    report = bureau.begin(ann)
    bureau.round(7 * DAY_MS)

    with pytest.raises(Problem) as caught:
        bureau.check(report, ann)
    assert caught.value.code == "not_found"
    files = b"".join(path.read_bytes() for path in bureau.log.directory.glob("registry*"))
    assert ann.mailbox.encode() not in files


def test_a_week_makes_it_active(bureau: Bureau, net: Internet) -> None:
    """Shown again at five moments by the greeting; the holder is told, and the log says so."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    net.greet(ann.address, f"ESMTP {report.application.address_token}")
    for _ in range(TRIAL_MS // HOUR_MS - 1):
        bureau.round(HOUR_MS)
        registered = bureau.registered(ann)
        assert registered is not None
        assert registered.status is Status.NEW
    bureau.round(HOUR_MS)

    registered = bureau.registered(ann)
    assert registered is not None
    assert registered.status is Status.ACTIVE
    bureau.round()
    bureau.mailboxes.wait_letter(ann.mailbox, "is active")


def test_connections_show_it_as_well(bureau: Bureau) -> None:
    """`smtpnic prove` every hour; one that came before a proof was due is not counted."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    for _ in range(TRIAL_MS // HOUR_MS + 3):
        bureau.round(HOUR_MS)
        bureau.connect(report)
        bureau.round(2 * 60_000)

    registered = bureau.registered(ann)
    assert registered is not None
    assert registered.status is Status.ACTIVE


def test_a_restart_forgets_no_trial(bureau: Bureau, net: Internet) -> None:
    """What is due stands in the database."""
    ann = bureau.applicant()
    report = bureau.register(ann)
    net.greet(ann.address, f"ESMTP {report.application.address_token}")
    for _ in range(8):
        bureau.round(DAY_MS)
        bureau.log.reopen()
        bureau.reopen()

    registered = bureau.registered(ann)
    assert registered is not None
    assert registered.status is Status.ACTIVE


def test_whoever_shows_it_today_has_it(bureau: Bureau, net: Internet) -> None:
    """A takeover: new holder, new age; the one before is told and keeps nothing of it."""
    ann, bob = bureau.applicant(), replace(bureau.applicant("bob"))
    bureau.register(ann)
    before = bureau.registered(ann)
    assert before is not None
    bureau.log.now_ms += DAY_MS
    net.name(ann.address, bob.host)
    bob = replace(bob, address=ann.address)
    done = bureau.register(bob)

    assert done.index is not None
    registered = bureau.registered(ann)
    assert registered is not None
    assert (registered.holder_id, registered.host) == (bob.holder_id, bob.host)
    assert registered.registered_ms == before.registered_ms + DAY_MS
    bureau.round()
    letter = bureau.mailboxes.wait_letter(ann.mailbox, "taken over")
    assert bob.host in text_of(letter)


def test_a_takeover_takes_both_proofs(bureau: Bureau, net: Internet) -> None:
    """The address alone, or the domain alone, takes nothing from anybody."""
    ann = bureau.applicant()
    bureau.register(ann)
    eve = replace(ann, name="eve")
    report = bureau.begin(eve)
    bureau.connect(report)

    assert verdicts(bureau.check(report, eve))["domain"] is FAILED
    registered = bureau.registered(ann)
    assert registered is not None
    assert registered.holder_id == ann.holder_id


def test_other_names_of_the_same_address(bureau: Bureau, net: Internet) -> None:
    """An update is shown like a registration, and keeps the age."""
    ann = bureau.applicant()
    bureau.register(ann)
    before = bureau.registered(ann)
    assert before is not None
    bureau.log.now_ms += HOUR_MS
    ann = replace(ann, host=f"mx.{ann.domain}")
    net.name(ann.address, ann.host)
    report = bureau.begin(ann)
    bureau.connect(report)
    assert bureau.check(report, ann).index is not None

    registered = bureau.registered(ann)
    assert registered is not None
    assert (registered.host, registered.registered_ms) == (ann.host, before.registered_ms)


@pytest.mark.parametrize("field", ["per_domain", "per_email", "per_ipv4_24"])
def test_quotas_refuse_one_too_many(bureau: Bureau, net: Internet, field: str) -> None:
    """Of a domain, a mailbox, a network; before anybody does anything in vain."""
    ann = bureau.applicant()
    bureau.register(ann)
    bureau.terms = replace(bureau.terms, quotas=Quotas(**{field: 1}))
    bureau.reopen()
    more = replace(bureau.applicant(), name="ann", domain=ann.domain, host=f"mx2.{ann.domain}")
    net.name(more.address, more.host)

    with pytest.raises(Problem) as caught:
        bureau.begin(more)
    assert caught.value.code == "quota"
    # What is counted already is no one too many.
    bureau.begin(ann)
    if field == "per_ipv4_24":
        net.let_in_network(more.address, more.holder_id)
        try:
            bureau.begin(more)
        finally:
            net.let_in_network(more.address, bytes(16))


def test_names_below_a_domain_are_counted_with_it(bureau: Bureau, net: Internet) -> None:
    """However many a person makes up, and whoever asks: it is one registrable domain."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    bureau.register(ann)
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_domain=1))
    bureau.reopen()
    assert ann.domain != bob.domain

    with pytest.raises(Problem, match=r"domain: example\.org has 1 registrations") as caught:
        bureau.begin(bob)
    assert (caught.value.code, caught.value.field) == ("quota", "domain")


def test_what_a_holder_has_already_is_not_one_more(bureau: Bureau, net: Internet) -> None:
    """Where there are more than a quota allows by now, one of them may still get another name."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    bureau.register(ann)
    bureau.register(bob)
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_domain=1, per_email=1, per_ipv4_24=1))
    bureau.reopen()
    renamed = replace(ann, host=f"mx.{ann.domain}")
    net.name(renamed.address, renamed.host)

    bureau.register(renamed)
    registered = bureau.registered(renamed)
    assert registered is not None
    assert registered.host == renamed.host


@pytest.mark.parametrize("spelled", ["Ann@{}", "ann+more@{}", "ANN+{}@{}"])
def test_another_spelling_of_a_mailbox_is_the_same(bureau: Bureau, spelled: str) -> None:
    """Capitals and a tag make no other mailbox, for whichever holder."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    bureau.register(ann)
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_email=1))
    bureau.reopen()
    other = ContactValue(ContactField.EMAIL, spelled.format(*[ann.domain.upper()] * 2), public=True)

    with pytest.raises(Problem, match=rf"email: ann@{ann.domain} has 1 registrations") as caught:
        bureau.begin(bob, contact=contact_with(other))
    assert (caught.value.code, caught.value.field) == ("quota", "email")


def test_the_board_sets_quotas(bureau: Bureau, net: Internet) -> None:
    """As a policy, at once and without a restart, whatever the primary's settings say."""
    ann = bureau.applicant()
    bureau.register(ann)
    more = replace(bureau.applicant(), name="ann", domain=ann.domain, host=f"mx2.{ann.domain}")
    net.name(more.address, more.host)
    for policy in ("domain", "email", "ipv4_24"):
        bureau.set_policies(**{f"registrations_per_{policy}": 1})
        with pytest.raises(Problem, match="and may have 1") as caught:
            bureau.begin(more)
        assert caught.value.code == "quota"
        bureau.set_policies(**{f"registrations_per_{policy}": 0})

    assert bureau.begin(more).index is None


def test_no_letter_goes_out_before_all_else_is_shown(bureau: Bureau) -> None:
    """Whoever has no mail server of their own has the registry write to nobody."""
    ann = bureau.applicant()
    report = bureau.begin(ann)
    bureau.connect(report)
    bureau.round()
    assert bureau.mailboxes.to(ann.mailbox) == []
    bureau.let_in(ann)
    bureau.check(report, ann)
    bureau.check(report, ann)
    bureau.round()

    assert len(bureau.mailboxes.to(ann.mailbox)) == 1


def test_nobody_is_pestered(bureau: Bureau) -> None:
    """Five letters that nobody answers are all that one mailbox gets, however it is spelled, and
    after a restart too."""
    domain = bureau.applicant("victim").domain

    def pester(number: int) -> Report:
        eve = replace(bureau.applicant("victim"), name=f"eve{number}")
        mailbox = ContactValue(ContactField.EMAIL, f"Victim+{number}@{domain}", public=True)
        report = bureau.begin(eve, contact=contact_with(mailbox))
        bureau.let_in(eve)
        bureau.connect(report)
        return bureau.check(report, eve)

    for number in range(5):
        pester(number)
    with pytest.raises(Problem, match="5 letters") as caught:
        pester(5)
    assert caught.value.code == "quota"
    bureau.reopen()
    with pytest.raises(Problem, match="5 letters"):
        pester(6)


def test_one_mail_server_writes_to_few_people(bureau: Bureau, net: Internet) -> None:
    """However many holders and mailboxes somebody makes up: the network's letters are counted."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(letters=2))
    bureau.reopen()
    server = bureau.applicant()
    people = [replace(server, name=f"eve{number}") for number in range(3)]
    net.let_in(server.domain, *(eve.holder_id for eve in people))

    def write(eve: Applicant) -> None:
        report = bureau.begin(eve)
        bureau.connect(report)
        bureau.check(report, eve)

    write(people[0])
    write(people[1])
    with pytest.raises(Problem, match=r"/24 has caused 2 letters") as caught:
        write(people[2])
    assert caught.value.code == "quota"


def test_words_fill_nobodys_quota(bureau: Bureau) -> None:
    """What is only applied for counts neither in a domain nor in a network."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_domain=1, per_ipv4_24=1, per_email=1))
    bureau.reopen()
    ann = bureau.applicant()
    bureau.begin(replace(ann, name="eve"), contact=ann.contact())

    assert bureau.register(ann).index is not None


def test_a_quota_holds_when_many_are_granted_at_once(bureau: Bureau, net: Internet) -> None:
    """All is shown for three; there is room for one."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_ipv4_24=1))
    bureau.reopen()
    people = [bureau.applicant(f"p{number}") for number in range(3)]
    reports = [bureau.begin(person) for person in people]
    for person, report in zip(people, reports, strict=True):
        bureau.let_in(person)
        bureau.connect(report)
        bureau.confirm(person)

    async def all_at_once() -> list[object]:
        checks = [
            bureau.desk.check(report.application.application_id, person.key)
            for person, report in zip(people, reports, strict=True)
        ]
        return await asyncio.gather(*checks, return_exceptions=True)

    ended = bureau.run(all_at_once())
    assert [Problem, Problem, Report] == sorted(map(type, ended), key=lambda each: each.__name__)


def test_one_client_begins_so_many(bureau: Bureau) -> None:
    """An hour later it may begin others; another client may at once."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_client=1, pending=3))
    bureau.reopen()
    bureau.begin(bureau.applicant("a"), client="192.0.2.1")
    with pytest.raises(Problem, match=r"192\.0\.2\.1 has begun 1") as caught:
        bureau.begin(bureau.applicant("b"), client="192.0.2.1")
    assert caught.value.code == "quota"
    bureau.begin(bureau.applicant("b"), client="192.0.2.2")
    bureau.log.now_ms += HOUR_MS
    bureau.begin(bureau.applicant("c"), client="192.0.2.1")
    with pytest.raises(Problem, match="3 applications wait"):
        bureau.begin(bureau.applicant("d"), client="192.0.2.3")


def test_applications_without_anything_shut_nobody_out(bureau: Bureau) -> None:
    """Where no more may wait, those of which nothing was shown for an hour go; others stay."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(pending=3))
    bureau.reopen()
    shown, *others = [bureau.applicant(f"p{number}") for number in range(5)]
    report = bureau.begin(shown)
    bureau.connect(report)
    for person in others[:2]:
        bureau.begin(person)
    with pytest.raises(Problem, match="3 applications wait"):
        bureau.begin(others[2])
    bureau.log.now_ms += HOUR_MS + 1
    bureau.begin(others[2])

    assert verdicts(bureau.check(report, shown))["address"] is HELD
    assert bureau.book.applications.number() == 2


def test_a_site_of_ipv6_is_few_clients(bureau: Bureau) -> None:
    """However many networks it has; and what is all shown at once is not counted."""
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_client=1))
    bureau.reopen()
    for number in range(CLIENTS_A_SITE):
        bureau.begin(bureau.applicant(f"p{number}"), client=f"2001:db8:0:{number}::/64")
    with pytest.raises(Problem, match=r"2001:db8::/48 has begun 4"):
        bureau.begin(bureau.applicant("q"), client="2001:db8:0:99::/64")
    bureau.begin(bureau.applicant("q"), client="2001:db8:1::/64")


def test_the_same_begun_at_once_is_one(bureau: Bureau, net: Internet) -> None:
    """Two lines of one file, or two clicks: each is told the same, registered or not."""
    ann = bureau.applicant()
    bureau.register(ann)
    more = replace(ann, address=net.new_address(), host=f"mx.{ann.domain}")
    net.name(more.address, more.host)

    async def all_at_once() -> list[Report]:
        return await asyncio.gather(*(bureau.desk.begin(more.ask()) for _ in range(4)))

    waiting = bureau.run(all_at_once())
    assert len({report.application.address_token for report in waiting}) == 1
    net.let_in_network(ann.address, ann.holder_id)
    try:
        done = bureau.run(all_at_once())
    finally:
        net.let_in_network(ann.address, bytes(16))
    assert len({report.index for report in done} - {None}) == 1
    assert all(report.index for report in done)


def test_what_is_shown_at_once_counts_for_nobody(bureau: Bureau, net: Internet) -> None:
    """Whoever has a network registers all of it in one go."""
    ann = bureau.applicant()
    bureau.register(ann)
    bureau.terms = replace(bureau.terms, quotas=Quotas(per_client=1))
    bureau.reopen()
    net.let_in_network(ann.address, ann.holder_id)
    try:
        for number in range(3):
            more = replace(ann, address=net.new_address(), host=f"mx{number}.{ann.domain}")
            net.name(more.address, more.host)
            assert bureau.begin(more, client="192.0.2.9").index is not None
    finally:
        net.let_in_network(ann.address, bytes(16))


def test_another_mailbox_is_confirmed_first(bureau: Bureau) -> None:
    """Any other field of the contact changes at once. The mailbox so far hears of it."""
    ann = bureau.applicant()
    bureau.register(ann)
    name = ContactValue(ContactField.NAME, "Ann Other", public=True)
    done = bureau.run(bureau.desk.begin_contact(ann.holder_id, ann.key, ann.contact(name)))
    assert done.index is not None
    email = ContactValue(ContactField.EMAIL, f"new@{ann.domain}", public=True)
    report = bureau.run(bureau.desk.begin_contact(ann.holder_id, ann.key, ann.contact(email)))
    assert verdicts(report) == {"email": FAILED}
    assert bureau.book.registered.email(ann.holder_id) == ann.mailbox
    bureau.run(bureau.post.send_due())
    letter = bureau.mailboxes.wait_letter(f"new@{ann.domain}", "confirm")
    bureau.run(bureau.desk.confirm_email(token_in(letter)))
    assert bureau.check(report, ann).index is not None
    assert bureau.book.registered.email(ann.holder_id) == f"new@{ann.domain}"
    bureau.run(bureau.post.send_due())
    told = text_of(bureau.mailboxes.wait_letter(ann.mailbox, "e-mail address was replaced"))
    assert f"new@{ann.domain}" not in told
    # Of a name nobody is told, nor is it kept that somebody was.
    assert len(bureau.mailboxes.to(ann.mailbox)) == 2
    assert bureau.book.letters.due(bureau.now(), 10) == []


def test_a_lost_key_is_replaced(bureau: Bureau, net: Internet) -> None:
    """By a record that names the new key, and a letter; then the old one opens nothing."""
    ann = bureau.applicant()
    bureau.register(ann)
    new_key = sha256(b"another").digest()

    def recover() -> dict[str, Verdict]:
        report = bureau.run(bureau.desk.begin_recovery(ann.holder_id, new_key, ann.domain))
        return verdicts(report)

    assert recover() == {"domain": FAILED, "email": FAILED}
    bureau.round()
    assert len(bureau.mailboxes.to(ann.mailbox)) == 1
    text = recovery_text(ann.holder_id, sha256(new_key).digest())
    net.put(domain_record_name(ann.domain), "TXT", f'"{text}"')
    assert recover() == {"domain": HELD, "email": FAILED}
    bureau.run(bureau.post.send_due())
    letter = bureau.mailboxes.wait_letter(ann.mailbox, "another management key")
    bureau.run(bureau.desk.confirm_email(token_in(letter)))
    assert set(recover().values()) == {HELD}

    assert bureau.book.registered.key_hash(ann.holder_id) == sha256(new_key).digest()
    bureau.round()
    bureau.mailboxes.wait_letter(ann.mailbox, "was replaced")


def test_a_domain_of_somebody_else_recovers_nothing(bureau: Bureau) -> None:
    """Only one of which the holder has a mail server."""
    ann, eve = bureau.applicant(), bureau.applicant("eve")
    bureau.register(ann)
    with pytest.raises(Problem) as caught:
        bureau.run(bureau.desk.begin_recovery(ann.holder_id, bytes(32), eve.domain))
    assert caught.value.code == "not_found"


def test_a_holder_that_nobody_could_reach_is_refused(bureau: Bureau) -> None:
    """Without a relay one way has to be public."""
    ann = bureau.applicant()
    hidden = tuple(replace(value, public=False) for value in ann.contact())
    with pytest.raises(Problem) as caught:
        bureau.begin(ann, contact=hidden)
    assert caught.value.code == "contact"


def test_letters_wait_for_the_mail_server(bureau: Bureau) -> None:
    """A 4xx answer is tried again; a 5xx one is given up; nothing of either is kept for ever."""
    ann, bob = bureau.applicant(), bureau.applicant("bob")
    for person in (ann, bob):
        bureau.let_in(person)
    bureau.mailboxes.refusal = "451 later"
    bureau.connect(bureau.begin(ann))
    bureau.round()
    assert bureau.mailboxes.to(ann.mailbox) == []
    bureau.mailboxes.refusal = ""
    bureau.round(HOUR_MS)
    assert len(bureau.mailboxes.to(ann.mailbox)) == 1
    bureau.mailboxes.refusal = "550 no such user"
    bureau.connect(bureau.begin(bob))
    bureau.round()
    bureau.mailboxes.refusal = ""
    bureau.round(GRACE_MS)
    assert bureau.mailboxes.to(bob.mailbox) == []


@pytest.mark.parametrize("ends", ["replaced", "cancelled"])
def test_a_letter_counts_though_its_application_ended(
    bureau: Bureau, net: Internet, ends: str
) -> None:
    """Begun again under other names, or cancelled: the mailbox has the letter all the same."""
    eve = bureau.applicant("eve")
    bureau.let_in(eve)
    contact = bureau.applicant("victim").contact()

    def pester(number: int) -> None:
        net.name(eve.address, f"mx{number}.{eve.domain}")
        report = bureau.begin(eve, host=f"mx{number}.{eve.domain}", contact=contact)
        bureau.connect(report)
        bureau.check(report, eve)
        if ends == "cancelled":
            bureau.run(bureau.desk.cancel(report.application.application_id, eve.key))

    for number in range(5):
        pester(number)
    with pytest.raises(Problem) as caught:
        pester(5)
    assert caught.value.code == "quota"


def test_letters_asked_for_at_once_are_counted(bureau: Bureau) -> None:
    """However many begin together, and however the mailbox is written."""
    email = bureau.applicant("victim").mailbox
    people = [replace(bureau.applicant(), name=f"eve{number}") for number in range(8)]
    shouted = ContactValue(ContactField.EMAIL, email.replace("victim", "VICTIM"), public=True)

    plain = ContactValue(ContactField.EMAIL, email, public=True)
    reports = []
    for number, eve in enumerate(people):
        report = bureau.begin(eve, contact=contact_with(shouted if number % 2 else plain))
        bureau.connect(report)
        bureau.let_in(eve)
        reports.append(report)

    async def all_at_once() -> list[object]:
        checks = [
            bureau.desk.check(report.application.application_id, eve.key)
            for report, eve in zip(reports, people, strict=True)
        ]
        return await asyncio.gather(*checks, return_exceptions=True)

    ended = bureau.run(all_at_once())
    assert 3 == sum(isinstance(each, Problem) for each in ended)


def test_an_address_of_ipv6_is_registered(bureau: Bureau, net: Internet) -> None:
    """Below ip6.arpa, by AAAA, and by a /64 whose reverse zone names the holder."""
    address, domain = "::1", "six.example.org"
    six = Applicant("six", f"mail.{domain}", domain, address=address)
    net.name(address, six.host)
    report = bureau.begin(six)
    notes = {str(finding.condition): finding for finding in report.findings}
    assert notes["ptr"].found.startswith("1.0.0.0")
    assert notes["forward"].found == f"{six.host} AAAA ::1"
    assert "_smtpnic.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa" in notes["address"].mend
    bureau.let_in(six)
    net.let_in_network(address, six.holder_id)
    try:
        assert verdicts(bureau.check(report, six))["address"] is HELD
        bureau.confirm(six)
        assert bureau.check(report, six).index is not None
    finally:
        net.let_in_network(address, bytes(16))
    assert bureau.registered(six) is not None

    near, far = (replace(six, address=one) for one in ("::2", "0:0:0:1::2"))
    for quotas, person in ((Quotas(per_ipv6_64=1), near), (Quotas(per_ipv6_48=1), far)):
        bureau.terms = replace(bureau.terms, quotas=quotas)
        bureau.reopen()
        with pytest.raises(Problem, match="may have 1") as caught:
            bureau.begin(person, host=six.host, domain=domain)
        assert caught.value.code == "quota"
