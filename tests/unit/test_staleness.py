"""How long a mirror answers without the registry (P7): by roots and decisions, and by a file."""

from __future__ import annotations

import pytest

from registry.board import root_key
from registry.decision import Act, Admit, Decision, ExtendStaleness, SetPolicy
from registry.entry import Entry
from registry.errors import BoardError, MalformedError, ThresholdError, VerificationError
from registry.kinds import Kind, Operation
from registry.root import DAY, Policies
from registry.staleness import (
    Staleness,
    concerns_staleness,
    decided_staleness,
    open_extension,
)
from tests.support.boards import (
    ALICE,
    DAVE,
    a_chain,
    a_decision,
    first_root,
    next_root,
    sign_decision,
    sign_root,
)
from tests.support.log_builder import START_MS

NOW_S = START_MS // 1000
UNTIL_S = NOW_S + 30 * DAY
LONGER = SetPolicy("staleness-seconds", 21 * DAY)
QUOTA = SetPolicy("registrations-per-holder", 5)
EXTEND = ExtendStaleness(UNTIL_S)
SECOND = sign_root(next_root(first_root(), policies=Policies(staleness_seconds=7 * DAY)))


def root_entry(note: bytes, version: int) -> Entry:
    return Entry(Kind.ROOT, root_key(version), Operation.PUT, True, START_MS, note)


def decision_entry(made: Decision) -> Entry:
    return Entry(Kind.DECISION, made.identifier, Operation.PUT, True, START_MS, sign_decision(made))


def decided(*acts: Act, then: tuple[Entry, ...] = ()) -> Staleness:
    """What a log comes to: the first root, these decisions, and what comes then."""
    entries = [
        root_entry(sign_root(first_root()), 1),
        *(decision_entry(a_decision(act)) for act in acts),
        *then,
    ]
    kept = [(at, entry) for at, entry in enumerate(entries, 1) if concerns_staleness(entry)]
    return decided_staleness(a_chain(SECOND), kept)


def test_the_root_and_decisions_say_how_long() -> None:
    """The root's period; another by decision until the next root; an extension holds over roots."""
    second = (root_entry(SECOND, 2),)
    assert [
        Staleness(14 * DAY),
        Staleness(21 * DAY),
        Staleness(21 * DAY, UNTIL_S),
        Staleness(7 * DAY, UNTIL_S),
    ] == [decided(), decided(LONGER), decided(EXTEND, LONGER), decided(LONGER, EXTEND, then=second)]


def test_what_else_is_decided_concerns_it_not() -> None:
    """Ten thousand suspensions need not be read for it."""
    acts: list[Act] = [QUOTA, Admit("mirror-1"), LONGER, EXTEND]
    assert [False, False, True, True] == [
        concerns_staleness(decision_entry(a_decision(act))) for act in acts
    ]


def test_until_when_it_is_answered() -> None:
    """So long after the last signed word, and until the time of the extension in any case."""
    assert 100.0 + DAY == Staleness(DAY).ends_s(100.0)
    assert 100.0 + DAY == Staleness(DAY, 200).ends_s(100.0)
    assert 3 * DAY == Staleness(DAY).extended(3 * DAY).extended(2 * DAY).ends_s(100.0)


def test_a_file_extends() -> None:
    """Signed by the board, with nothing in the log: the primary may be lost."""
    note = sign_decision(a_decision(EXTEND))
    assert UNTIL_S == open_extension(note, a_chain(), NOW_S + 1)
    assert UNTIL_S == open_extension(note, a_chain())


@pytest.mark.parametrize(
    ("note", "error"),
    [
        (sign_decision(a_decision(EXTEND), ALICE), ThresholdError),
        (sign_decision(a_decision(EXTEND), ALICE, ALICE), ThresholdError),
        (sign_decision(a_decision(EXTEND), ALICE, DAVE), ThresholdError),
        (sign_decision(a_decision(LONGER)), BoardError),
        (sign_decision(a_decision(EXTEND, origin="other.example")), BoardError),
        (sign_decision(a_decision(EXTEND, root_version=2)), BoardError),
        (a_decision(EXTEND).text().encode(), ThresholdError),
        (b"extend staleness for ever\n", MalformedError),
    ],
)
def test_what_extends_nothing(note: bytes, error: type[VerificationError]) -> None:
    """Too few, one twice, strangers, another act, another log, another root, no signature."""
    with pytest.raises(error):
        open_extension(note, a_chain())


def test_an_extension_that_expired_is_not_put_in() -> None:
    """What is there already goes on: it was put in while it was open. A new root voids it."""
    note = sign_decision(a_decision(EXTEND))
    with pytest.raises(BoardError, match="expired"):
        open_extension(note, a_chain(), NOW_S + 15 * DAY)
    with pytest.raises(BoardError, match="root"):
        open_extension(note, a_chain(SECOND))
