"""Decisions of the board, and what they come to in the log."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.board import Board, SignedDecision, root_key
from registry.decision import (
    Act,
    Admit,
    Decision,
    ExtendStaleness,
    OfHolder,
    OfPrefix,
    OfRegistration,
    Remove,
    Restore,
    SetLapses,
    SetPolicy,
    Suspend,
)
from registry.entry import Entry
from registry.errors import BoardError, MalformedError, ThresholdError, VerificationError
from registry.kinds import Kind, Operation, Status
from registry.registration import Registration
from registry.root import DAY
from tests.support.boards import (
    ALICE,
    DAVE,
    EXPIRES_S,
    a_chain,
    a_decision,
    first_root,
    next_root,
    sign_decision,
    sign_root,
)
from tests.support.log_builder import HOLDER_ID, START_MS

ADDRESS = Address.parse("198.51.100.7")
NETWORK = OfPrefix(ipaddress.ip_network("198.51.100.0/24"))
ACTS: tuple[Act, ...] = (
    Suspend(OfRegistration(ADDRESS)),
    Suspend(OfHolder(HOLDER_ID)),
    Suspend(NETWORK),
    Suspend(OfPrefix(ipaddress.ip_network("2001:db8::/32"))),
    Restore(NETWORK),
    Admit("mirror-1"),
    Remove("mirror-1.example.org"),
    SetPolicy("staleness-seconds", 30 * DAY),
    ExtendStaleness(EXPIRES_S),
    SetLapses(True, START_MS // 1000 + 7 * DAY),
    SetLapses(False, START_MS // 1000 + 7 * DAY),
)


def put(kind: Kind, key: bytes, payload: bytes, time_ms: int = START_MS) -> Entry:
    """An entry that the log might hold."""
    return Entry(kind, key, Operation.PUT, True, time_ms, payload)


def root_entry(note: bytes, version: int = 1) -> Entry:
    """The entry of a root."""
    return put(Kind.ROOT, root_key(version), note)


def decision_entry(made: Decision, note: bytes | None = None, time_ms: int = START_MS) -> Entry:
    """The entry of a decision; alice and bob signed it."""
    return put(Kind.DECISION, made.identifier, note or sign_decision(made), time_ms)


def registration_entry(status: Status) -> Entry:
    """The entry of a registration."""
    made = Registration(HOLDER_ID, "mail.example.org", "example.org", status, START_MS)
    return put(Kind.REGISTRATION, ADDRESS.packed, made.encode())


def board() -> Board:
    """With the first root in the log."""
    return Board.begin(a_chain()).after(root_entry(sign_root(first_root())))


@pytest.mark.parametrize("act", ACTS)
def test_the_text_has_one_form(act: Act) -> None:
    """A decision comes back from its text."""
    made = a_decision(act)
    assert Decision.parse(made.text()) == made


@given(text=st.text(max_size=100), at=st.integers(0, 500), character=st.characters())
def test_any_text_is_a_decision_or_malformed(text: str, at: int, character: str) -> None:
    """Whatever is changed in its text, it is malformed or says something else."""
    whole = a_decision(ACTS[2]).text()
    at %= len(whole)
    for candidate in (text, whole[:at] + character + whole[at + 1 :]):
        try:
            parsed = Decision.parse(candidate)
        except MalformedError:
            continue
        assert parsed.text() == candidate


def test_lapses_are_let_go_or_kept_for_a_while() -> None:
    """What was decided last holds until its time, and then the usual limit again."""
    until_s = START_MS // 1000 + 7 * DAY
    now, decided = board(), [SetLapses(True, until_s), SetLapses(False, until_s - DAY)]
    assert now.lapses_at(until_s - 1) is None
    for act in decided:
        now = now.after(decision_entry(a_decision(act)))
        assert now.lapses_at(until_s - DAY - 1) == act
    assert now.lapses_at(until_s - DAY) is None
    with pytest.raises(MalformedError, match="up to 30 days"):
        a_decision(SetLapses(True, until_s + 30 * DAY))


@pytest.mark.parametrize("act", ACTS[:3])
def test_nobody_suspends_alone(act: Act) -> None:
    """Suspended is refused without a decision, and anything else after one; then back."""
    before = board()
    with pytest.raises(BoardError, match="without a decision"):
        before.after(registration_entry(Status.SUSPENDED))
    before.after(registration_entry(Status.ACTIVE))
    after = before.after(decision_entry(a_decision(act)))
    after.after(registration_entry(Status.SUSPENDED))
    with pytest.raises(BoardError, match="has suspended"):
        after.after(registration_entry(Status.ACTIVE))
    assert isinstance(act, Suspend)
    restored = after.after(decision_entry(a_decision(Restore(act.target))))
    restored.after(registration_entry(Status.ACTIVE))
    with pytest.raises(BoardError):
        restored.after(registration_entry(Status.SUSPENDED))


def test_too_few_and_strangers() -> None:
    """One of two is too few, and a stranger's signature is none."""
    made = a_decision(ACTS[0])
    for signatories in ((ALICE,), (ALICE, DAVE)):
        with pytest.raises(ThresholdError):
            board().after(decision_entry(made, sign_decision(made, *signatories)))


@pytest.mark.parametrize(
    ("made", "time_ms"),
    [
        (a_decision(ACTS[0]), START_MS + 15 * DAY * 1000),
        (a_decision(ACTS[0], root_version=2), START_MS),
        (a_decision(ACTS[0], origin="other.example"), START_MS),
        (a_decision(Restore(NETWORK)), START_MS),
        (
            a_decision(ACTS[0], proposed_s=EXPIRES_S - 9, expires_s=EXPIRES_S + DAY),
            EXPIRES_S * 1000,
        ),
    ],
)
def test_what_may_not_be_decided(made: Decision, time_ms: int) -> None:
    """After it expired, under another root, about another log, without sense, under an old root."""
    with pytest.raises(BoardError):
        board().after(decision_entry(made, time_ms=time_ms))


def test_policies_and_mirrors() -> None:
    """Decided policies hold until the next root; mirrors come and go; staleness is extended."""
    now = board()
    for act in (ACTS[5], ACTS[7], ACTS[8]):
        now = now.after(decision_entry(a_decision(act)))
    assert (frozenset({"mirror-1"}), 30 * DAY, EXPIRES_S) == (
        now.mirrors,
        now.policies.staleness_seconds,
        now.stale_after_s,
    )
    now = now.after(decision_entry(a_decision(Remove("mirror-1"))))
    now = now.after(root_entry(sign_root(next_root(first_root())), 2))
    assert (frozenset[str](), 14 * DAY) == (now.mirrors, now.policies.staleness_seconds)


def test_who_catches_up_judges_by_the_root_of_the_time() -> None:
    """A chain that is further than the log does not make an old decision false."""
    second = sign_root(next_root(first_root()))
    ahead = Board.begin(a_chain(second)).after(root_entry(sign_root(first_root())))
    decided = ahead.after(decision_entry(a_decision(ACTS[0])))
    assert decided.suspension(ADDRESS, HOLDER_ID) is not None
    assert decided.after(root_entry(second, 2)).version == 2


def test_roots_in_the_log_have_no_gap() -> None:
    """Neither is one left out, nor put again, nor put under another name."""
    second = sign_root(next_root(first_root()))
    with pytest.raises(BoardError):
        Board.begin(a_chain(second)).after(root_entry(second, 2))
    for entry in (root_entry(sign_root(first_root())), root_entry(second, 3)):
        with pytest.raises(BoardError):
            board().after(entry)
    with pytest.raises(BoardError, match="never deleted"):
        board().after(Entry(Kind.ROOT, root_key(1), Operation.DELETE, True, START_MS, b""))


def test_a_removal_is_remembered_with_its_time() -> None:
    """The last one counts; another admission lets nobody follow who has not joined anew."""
    made = board()
    acts: tuple[Act, ...] = (Remove("m"), Admit("m"), Remove("m"), Admit("m"))
    for number, act in enumerate(acts):
        decided = replace(a_decision(act), reason=f"number {number}")
        made = made.after(decision_entry(decided, time_ms=START_MS + number))
    assert {"m": START_MS + 2} == made.removals
    assert frozenset({"m"}) == made.mirrors


def test_a_board_is_restored_from_records() -> None:
    """From roots and decisions in any order comes the same board as by replay."""
    entries = [
        root_entry(sign_root(first_root())),
        decision_entry(a_decision(ACTS[2])),
        decision_entry(a_decision(ACTS[7])),
        decision_entry(a_decision(Remove("mirror-1")), time_ms=START_MS + 9),
        root_entry(sign_root(next_root(first_root())), 2),
    ]
    replayed = Board.begin(a_chain())
    for entry in entries:
        replayed = replayed.after(entry)
    chain = a_chain(sign_root(next_root(first_root())))
    assert Board.restore(chain, reversed(list(enumerate(entries)))) == replayed


def test_a_decision_has_a_name_of_its_own() -> None:
    """Under the name of another it is refused, and a restored one needs its signatures."""
    made = a_decision(ACTS[0])
    with pytest.raises(BoardError):
        board().after(put(Kind.DECISION, bytes(16), sign_decision(made)))
    alone = decision_entry(made, sign_decision(made, ALICE))
    with pytest.raises(VerificationError):
        Board.restore(a_chain(), [(0, root_entry(sign_root(first_root()))), (1, alone)])


def test_other_addresses_are_not_meant() -> None:
    """A network covers its own addresses of its own family."""
    decided = board().after(decision_entry(a_decision(Suspend(NETWORK))))
    signed = SignedDecision.decode(sign_decision(a_decision(Suspend(NETWORK))))
    found = [
        decided.suspension(Address.parse(each), bytes(16))
        for each in ("198.51.100.0", "198.51.100.255", "198.51.101.0", "2001:db8::1")
    ]
    assert [signed.decision, signed.decision, None, None] == [f and f.decision for f in found]


def test_limits() -> None:
    """A whole /7 is no network to suspend; no proposal is open for ever; a reason is needed."""
    with pytest.raises(MalformedError):
        OfPrefix(ipaddress.ip_network("0.0.0.0/7"))
    for changes in ({"expires_s": START_MS}, {"reason": " "}, {"reason": "a\nb"}):
        with pytest.raises(MalformedError):
            replace(a_decision(ACTS[0]), **changes)
