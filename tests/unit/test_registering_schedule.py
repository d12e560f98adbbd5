"""The week in which an address shows that it stays, and the limits on how many one may have."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primary.registering.quotas import Quotas, Scope, check_quota, decided, ranges_of
from primary.registering.schedule import (
    DAY_MS,
    GRACE_MS,
    MISSES_TO_LAPSE,
    TRIAL_MS,
    TRIAL_PROOFS,
    Step,
    Trial,
)
from primary.registering.tokens import is_token, new_address_token, new_email_token
from registry.address import Address
from registry.errors import Problem
from registry.root import Policies

NOW = 1_700_000_000_000


def run(trial: Trial, dice: Random, held: bool = True) -> list[tuple[Step, int]]:
    """All looks until the trial is passed, and when they were."""
    steps = []
    for _ in range(10 * TRIAL_PROOFS):
        now = trial.look_ms
        step, trial = trial.look(now, held=held, known=True, dice=dice)
        steps.append((step, now))
        if step is Step.PASSED:
            break
    return steps


@given(st.integers())
def test_static_is_earned_over_a_week(seed: int) -> None:
    """Five proofs at moments that differ from trial to trial, the last when seven days are over."""
    dice = Random(seed)
    steps = run(Trial.begin(NOW, dice), dice)

    assert [step for step, _ in steps] == [*[Step.PROVED] * (TRIAL_PROOFS - 1), Step.PASSED]
    times = [now - NOW for _, now in steps]
    assert times == sorted(times)
    assert times[-1] == TRIAL_MS
    assert all(0 < time < TRIAL_MS for time in times[:-1])


def test_the_moments_are_not_to_be_foreseen() -> None:
    """Two trials that begin together are looked at apart."""
    first, second = (run(Trial.begin(NOW, dice), dice) for dice in (Random(1), Random(2)))

    assert {now for _, now in first[:-1]}.isdisjoint({now for _, now in second[:-1]})


def test_a_proof_may_be_late_for_a_day() -> None:
    """A machine that is away for a night loses nothing."""
    dice = Random(1)
    trial = Trial.begin(NOW, dice)
    late = trial.due_ms + GRACE_MS - 1
    step, waiting = trial.look(late, held=False, known=True, dice=dice)
    assert step is Step.WAIT
    assert waiting.look_ms > late
    step, proved = waiting.look(waiting.look_ms, held=True, known=True, dice=dice)
    assert (step, proved.started_ms) == (Step.PROVED, NOW)


def miss(trial: Trial, dice: Random) -> tuple[Step, Trial]:
    """Nothing is shown when it is due, nor a day later."""
    _, waiting = trial.look(trial.due_ms, held=False, known=True, dice=dice)
    return waiting.look(trial.due_ms + GRACE_MS, held=False, known=True, dice=dice)


def test_a_first_look_that_comes_late_is_no_miss() -> None:
    """A registry that was away for days lets whoever connects to it show the address first."""
    dice, trial = Random(1), Trial.begin(NOW, Random(1))
    step, waiting = trial.look(trial.due_ms + 3 * GRACE_MS, held=False, known=True, dice=dice)
    assert (step, waiting.misses) == (Step.WAIT, 0)
    step, _ = waiting.look(waiting.look_ms, held=False, known=True, dice=dice)
    assert step is Step.RESTARTED


def test_without_a_proof_for_a_day_the_week_begins_again() -> None:
    """A dynamic address that was lost never becomes active."""
    dice = Random(1)
    trial = Trial.begin(NOW, dice)
    step, again = miss(trial, dice)

    assert (step, again.started_ms, again.proofs) == (Step.RESTARTED, trial.due_ms + GRACE_MS, 0)


def test_the_third_proof_in_a_row_that_does_not_come_ends_it() -> None:
    """The week begins again twice; then it is given up, at whichever look that is known."""
    dice, trial, steps = Random(1), Trial.begin(NOW, Random(1)), []
    for _ in range(MISSES_TO_LAPSE + 1):
        step, trial = miss(trial, dice)
        steps.append((step, trial.misses, trial.is_given_up))

    restarts = [(Step.RESTARTED, 1, False), (Step.RESTARTED, 2, False)]
    assert [*restarts, *[(Step.GIVEN_UP, MISSES_TO_LAPSE, True)] * 2] == steps


def test_a_proof_is_the_end_of_all_misses() -> None:
    """Of those before it, however many they were."""
    dice, trial = Random(1), Trial.begin(NOW, Random(1))
    for _ in range(MISSES_TO_LAPSE):
        _, trial = miss(trial, dice)
    step, proved = trial.look(trial.look_ms, held=True, known=True, dice=dice)

    assert (step, proved.misses) == (Step.PROVED, 0)


def test_a_trial_counts_so_far() -> None:
    """What no trial has is refused when it is made."""
    for proofs, misses in ((TRIAL_PROOFS + 1, 0), (-1, 0), (0, MISSES_TO_LAPSE + 1), (0, -1)):
        with pytest.raises(ValueError, match="a trial has up to"):
            Trial(NOW, proofs, NOW, NOW, misses)


def test_what_could_not_be_told_is_no_failure() -> None:
    """A resolver that fails for days restarts nobody's week."""
    dice = Random(1)
    trial = Trial.begin(NOW, dice)
    step, waiting = trial.look(trial.due_ms + 9 * DAY_MS, held=False, known=False, dice=dice)

    assert (step, waiting.started_ms) == (Step.WAIT, NOW)


def test_nothing_counts_before_it_is_due() -> None:
    """Five connections in the first minute are one proof."""
    trial = Trial.begin(NOW, Random(1))

    assert trial.look(NOW + 1, held=True, known=True, dice=Random(1)) == (Step.WAIT, trial)


def test_networks_have_quotas() -> None:
    """A /24 of IPv4; a /64 and a /48 of IPv6."""
    four = ranges_of(Address.parse("192.0.2.36"))
    six = ranges_of(Address.parse("2001:db8:1:2::24"))

    assert [(one.text, str(one.first), str(one.last)) for one in four] == [
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255")
    ]
    assert [one.text for one in six] == ["2001:db8:1:2::/64", "2001:db8:1::/48"]


def test_a_quota_refuses_one_too_many() -> None:
    """And names what is full, and whom to ask."""
    quotas = Quotas(per_domain=2)

    check_quota(quotas, Scope.DOMAIN, "example.org", 1)
    with pytest.raises(Problem, match="has 2 registrations") as caught:
        check_quota(quotas, Scope.DOMAIN, "example.org", 2)
    assert (caught.value.code, caught.value.field) == ("quota", "domain")


def test_what_the_board_has_set_goes_first() -> None:
    """Where it has set nothing, the settings hold."""
    policies = Policies(registrations_per_domain=5, registrations_per_ipv6_48=6)
    settings = Quotas(per_domain=2, per_email=3, per_ipv6_48=9)

    assert decided(settings, policies) == Quotas(per_domain=5, per_email=3, per_ipv6_48=6)
    assert decided(settings, Policies()) == settings


@given(st.binary(min_size=13, max_size=13))
def test_tokens_can_be_told_from_other_words(data: bytes) -> None:
    """In a greeting, or on a command line."""
    assert is_token(new_address_token(lambda _: data))
    assert is_token(new_email_token(lambda _: data))
    assert not is_token(new_email_token(lambda _: data) + "a")
