"""What DNS and WHOIS say when the register is not what it should be: never a false answer (P3)."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from secondary.dns.codes import ExtendedError
from secondary.dns.responder import Responder
from secondary.notice import Condition
from secondary.whois.server import remark
from tests.support.responding import (
    RESPONDER,
    V4,
    exchange,
    extended_error,
    make_responder,
    texts,
)

ABSENT = "192-0-2-200.smtpnic.example."


def ask_edns(name: str, responder: Responder = RESPONDER) -> dns.message.Message:
    """Only who speaks EDNS is told why."""
    return exchange(dns.message.make_query(name, "A", use_edns=0), responder=responder)


@pytest.mark.parametrize(
    "name", [V4, ABSENT, "smtpnic.example.", "36.2.0.192.list.smtpnic.example."]
)
@pytest.mark.parametrize("condition", [Condition.BEHIND, Condition.STALE])
def test_behind_or_stale_it_answers_nothing(name: str, condition: Condition) -> None:
    """SERVFAIL, and why, whatever is asked: another mirror knows better, or nobody does."""
    response = ask_edns(name, make_responder(condition=condition))
    assert dns.rcode.SERVFAIL == response.rcode()
    assert ExtendedError.INVALID_DATA == extended_error(response)


def test_after_a_fork_the_last_good_state_is_served() -> None:
    """The answers are those of always, with the remark that there is doubt (P5, RFC 8914)."""
    forked = make_responder(condition=Condition.FORKED)
    for name, code in (
        (V4, ExtendedError.STALE_ANSWER),
        (ABSENT, ExtendedError.STALE_NXDOMAIN_ANSWER),
    ):
        good, marked = ask_edns(name), ask_edns(name, forked)
        assert (good.rcode(), texts(good)) == (marked.rcode(), texts(marked))
        assert code == extended_error(marked)


def test_whois_says_it_too() -> None:
    """Nothing while all is well."""
    assert "" == remark(Condition.GOOD)
    assert "behind" in remark(Condition.BEHIND)
    assert "for too long" in remark(Condition.STALE)
    assert "two registers" in remark(Condition.FORKED)
