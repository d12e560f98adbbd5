"""The conditions of registering: what is observed, and what is said to the person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primary.registering.dynamic_names import looks_dynamic
from primary.registering.findings import Finding, Verdict
from primary.registering.judging import (
    AddressSigns,
    Subject,
    judge_address,
    judge_domain,
    judge_email,
    judge_forward,
    judge_ptr,
    judge_recovery,
    judge_zone,
)
from primary.registering.proof_records import (
    domain_record_name,
    holder_text,
    names_holder,
    networks_of,
    pointer_name,
    recovery_text,
)
from registry.address import Address
from registry.observations import Agreed, Answer, Outcome, agree

HOLDER = bytes(range(16))
SUBJECT = Subject(HOLDER, Address.parse("203.0.113.36"), "mail.example.org", "example.org")
SUBJECT6 = Subject(HOLDER, Address.parse("2001:db8::24"), "mail.example.org", "example.org")
TOKEN = "smtpnic-abcdefghij234567abcd"
NOTHING = Agreed(Outcome.ABSENT, detail="NXDOMAIN")
SILENCE = Agreed(Outcome.FAILED, detail="the resolvers do not agree: 192.0.2.53: timed out")


def found(*values: str, authenticated: bool = False) -> Agreed:
    return Agreed(Outcome.FOUND, frozenset(values), authenticated)


def said(*values: str, authenticated: bool = False) -> Answer:
    outcome = Outcome.FOUND if values else Outcome.ABSENT
    return Answer("192.0.2.53", outcome, frozenset(values), authenticated)


FAILED = Answer("192.0.2.54", Outcome.FAILED, detail="SERVFAIL")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([said("a")], found("a")),
        ([said("a"), said("a"), said("b")], found("a")),
        ([said("a"), said("a"), FAILED], found("a")),
        ([said("a", "b"), said("b", "c"), said("b")], found("b")),
        (
            [said("a", authenticated=True), said("a", authenticated=True)],
            found("a", authenticated=True),
        ),
        ([said("a", authenticated=True), said("a")], found("a")),
    ],
)
def test_what_most_resolvers_have_seen_counts(answers: list[Answer], expected: Agreed) -> None:
    """One resolver that is deceived, behind or silent changes nothing; AD counts if all set it."""
    assert agree(answers) == expected


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([said(), said(), said("a")], Outcome.ABSENT),
        ([said(), said("a")], Outcome.FAILED),
        ([said("a"), FAILED], Outcome.FAILED),
        ([FAILED, FAILED, said()], Outcome.FAILED),
        ([], Outcome.FAILED),
    ],
)
def test_without_a_majority_nothing_is_known(answers: list[Answer], outcome: Outcome) -> None:
    """A silent resolver is no answer, and neither is a draw."""
    assert agree(answers).outcome == outcome


@given(st.lists(st.sampled_from([said("a"), said("a", "b"), said(), FAILED]), max_size=7))
def test_a_value_counts_only_with_a_majority(answers: list[Answer]) -> None:
    """Whatever the mix, nothing that fewer than half have seen is believed."""
    for value in agree(answers).values:
        assert 2 * sum(value in answer.values for answer in answers) > len(answers)


def test_a_ptr_record_that_names_the_host_holds() -> None:
    """Among several names it may be any."""
    finding = judge_ptr(SUBJECT, found("other.example.org", "mail.example.org", authenticated=True))

    assert (finding.verdict, finding.note) == (Verdict.HELD, "DNSSEC: signed and validated")
    finding = judge_ptr(SUBJECT, found("mail.example.org"))
    assert finding.note == "DNSSEC: not signed, or not validated by every resolver"


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (NOTHING, Verdict.FAILED, "no PTR record at 36.113.0.203.in-addr.arpa"),
        (found("dyn-36.isp.example"), Verdict.FAILED, "PTR dyn-36.isp.example"),
        (SILENCE, Verdict.UNKNOWN, "192.0.2.53: timed out"),
    ],
)
def test_a_ptr_that_does_not_hold_says_why(answer: Agreed, verdict: Verdict, words: str) -> None:
    """What was found, what was expected, how to mend it; silence is not held against anybody."""
    finding = judge_ptr(SUBJECT, answer)

    assert finding.verdict == verdict
    assert words in finding.found
    assert finding.expected == "36.113.0.203.in-addr.arpa PTR mail.example.org"
    assert finding.mend


def test_a_host_leads_back_to_the_address() -> None:
    """By A or AAAA, as the address is."""
    assert judge_forward(SUBJECT, found("203.0.113.36", "203.0.113.37")).verdict is Verdict.HELD
    assert judge_forward(SUBJECT6, found("2001:db8::24")).verdict is Verdict.HELD
    wrong = judge_forward(SUBJECT6, found("2001:db8::25"))
    assert wrong.verdict is Verdict.FAILED
    assert wrong.mend == "add to the zone: mail.example.org. AAAA 2001:db8::24"


@pytest.mark.parametrize("host", ["203-0-113-36.smtpnic.example", "smtpnic.example"])
def test_a_name_of_the_registry_itself_is_no_name(host: str) -> None:
    """Everybody would pass with the name that the registry makes."""
    subject = Subject(HOLDER, SUBJECT.address, host, "smtpnic.example")

    assert judge_zone(subject, ["smtpnic.example"]).verdict is Verdict.FAILED
    assert judge_zone(subject, ["example", "other.example"]).verdict is Verdict.FAILED
    assert judge_zone(SUBJECT, ["smtpnic.example", "nic.example.org"]).verdict is Verdict.HELD


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (holder_text(HOLDER), True),
        ("V = smtpnic1 ;HOLDER=" + HOLDER.hex().upper() + ";", True),
        (recovery_text(HOLDER, bytes(32)), True),
        (holder_text(bytes(16)), False),
        (f"holder={HOLDER.hex()}", False),
        (f"v=smtpnic2; holder={HOLDER.hex()}", False),
        ("v=spf1 -all", False),
        ("", False),
    ],
)
def test_a_domain_lets_a_holder_in(text: str, holds: bool) -> None:
    """The record names the holder, in any spelling that means it."""
    assert names_holder(text, HOLDER) == holds
    finding = judge_domain(SUBJECT, found("v=spf1 -all", text))
    assert (finding.verdict is Verdict.HELD) == holds


def test_a_domain_without_the_record_is_told_the_record() -> None:
    """It can be copied into a zone as it is."""
    finding = judge_domain(SUBJECT, NOTHING)

    assert finding.found == "no such record at _smtpnic.example.org"
    assert finding.mend == (
        f'add to the zone: _smtpnic.example.org. TXT "v=smtpnic1; holder={HOLDER.hex()}"'
    )
    assert judge_domain(SUBJECT, SILENCE).verdict is Verdict.UNKNOWN


def test_a_standing_record_recovers_no_key() -> None:
    """Only a record that names the very key does, and no one who reads the old one can know it."""
    key_hash = bytes(range(32))

    def judge(*texts: str) -> Verdict:
        return judge_recovery("example.org", HOLDER, key_hash, found(*texts)).verdict

    assert judge(holder_text(HOLDER)) is Verdict.FAILED
    assert judge(recovery_text(HOLDER, bytes(32))) is Verdict.FAILED
    assert judge(recovery_text(bytes(16), key_hash)) is Verdict.FAILED
    assert judge(holder_text(HOLDER), recovery_text(HOLDER, key_hash)) is Verdict.HELD


def signs(
    *,
    connected: bool = False,
    greeting: str | None = None,
    networks: tuple[Agreed, ...] = (),
) -> AddressSigns:
    return AddressSigns(TOKEN, connected, greeting, "nothing answers at port 25", networks)


@pytest.mark.parametrize(
    ("given_signs", "holds"),
    [
        (signs(), False),
        (signs(connected=True), True),
        (signs(greeting=f"mail.example.org ESMTP {TOKEN} ready"), True),
        (signs(greeting="mail.example.org ESMTP"), False),
        (signs(greeting=f"x{TOKEN}"), False),
        (signs(networks=(NOTHING, found(holder_text(HOLDER)))), True),
        (signs(networks=(NOTHING, found(holder_text(bytes(16))), SILENCE)), False),
    ],
)
def test_any_one_sign_shows_whose_the_address_is(given_signs: AddressSigns, holds: bool) -> None:
    """A connection from it, its greeting, or its reverse zone; and else all three ways are told."""
    finding = judge_address(SUBJECT, given_signs)

    assert (finding.verdict is Verdict.HELD) == holds
    if not holds:
        assert f"smtpnic prove 203.0.113.36 --token {TOKEN}" in finding.mend
        assert "_smtpnic.113.0.203.in-addr.arpa" in finding.mend


def test_what_stands_in_the_reverse_zone_is_told() -> None:
    """A record that names another holder, or is spelled wrong; and that it could not be seen."""
    other = found(holder_text(bytes(16)), "v=spf1 -all")
    finding = judge_address(SUBJECT, signs(networks=(NOTHING, other, SILENCE)))

    assert finding.found == (
        "nothing answers at port 25; "
        f'TXT "{holder_text(bytes(16))}" at _smtpnic.113.0.203.in-addr.arpa; '
        f"_smtpnic.0.203.in-addr.arpa: {SILENCE.detail}"
    )


def test_what_the_reverse_zone_did_not_say_may_be_what_shows_it() -> None:
    """Where its name servers are silent nobody knows that it is not shown; a sign is enough."""
    silent = (NOTHING, SILENCE, NOTHING)
    assert Verdict.UNKNOWN is judge_address(SUBJECT, signs(networks=silent)).verdict
    assert Verdict.FAILED is judge_address(SUBJECT, signs(networks=(NOTHING,) * 3)).verdict
    shown = (found(holder_text(HOLDER)), *silent[1:])
    assert Verdict.HELD is judge_address(SUBJECT, signs(networks=shown)).verdict


def test_networks_are_those_of_delegations() -> None:
    """The reverse zone of a whole network speaks for each address in it."""
    assert [(one.prefix, one.name) for one in networks_of(SUBJECT.address)] == [
        ("203.0.113.36/32", "_smtpnic.36.113.0.203.in-addr.arpa"),
        ("203.0.113.0/24", "_smtpnic.113.0.203.in-addr.arpa"),
        ("203.0.0.0/16", "_smtpnic.0.203.in-addr.arpa"),
    ]
    six = networks_of(SUBJECT6.address)
    assert [one.prefix for one in six] == [
        "2001:db8::24/128",
        "2001:db8::/64",
        "2001:db8::/56",
        "2001:db8::/48",
        "2001:db8::/32",
    ]
    assert six[4].name == "_smtpnic.8.b.d.0.1.0.0.2.ip6.arpa"
    assert pointer_name(SUBJECT.address) == "36.113.0.203.in-addr.arpa"
    assert domain_record_name("example.org") == "_smtpnic.example.org"


@pytest.mark.parametrize(
    ("host", "looks"),
    [
        ("203-0-113-36.isp.example", True),
        ("host36.113.0.203.isp.example", True),
        ("p203000113036.isp.example", True),
        ("cb007124.isp.example", True),
        ("dhcp12.isp.example", True),
        ("x.pool.isp.example", True),
        ("mail.example.org", False),
        ("mx36.example.org", False),
        ("spool.example.org", False),
        ("mail-0-113.example.org", False),
    ],
)
def test_a_name_that_looks_dynamic_is_pointed_out(host: str, looks: bool) -> None:
    """And refuses nobody: the finding holds all the same."""
    subject = Subject(HOLDER, SUBJECT.address, host, host.partition(".")[2])

    assert bool(looks_dynamic(host, SUBJECT.address)) == looks
    finding = judge_ptr(subject, found(host))
    assert finding.verdict is Verdict.HELD
    assert ("dynamic" in finding.note) == looks


def test_a_mailbox_is_confirmed_by_its_letter() -> None:
    """Where no letter can be sent, nobody is told to read it."""
    email = "postmaster@example.org"

    def judge(*, confirmed: bool = False, sent: bool = True, can_send: bool = True) -> Finding:
        return judge_email(email, confirmed=confirmed, sent=sent, can_send=can_send)

    assert judge(confirmed=True, can_send=False).verdict is Verdict.HELD
    assert judge().verdict is Verdict.FAILED
    assert "read the letter" in judge().mend
    assert judge(can_send=False).verdict is Verdict.UNKNOWN
    assert judge(sent=False).mend == "do the rest first"
