"""What DNS and WHOIS say when the register is not what it should be: never a false answer (P3)."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from secondary.dns.codes import ExtendedError
from secondary.dns.responder import Responder
from secondary.notice import Condition
from secondary.whois.answers import remark
from tests.support.responding import (
    RESPONDER,
    V4,
    ask,
    exchange,
    extended_error,
    make_responder,
    texts,
)
from tests.support.views import NOW_S

DAY = 86400
ABSENT = "192-0-2-200.smtpnic.example."


def ask_edns(name: str, responder: Responder = RESPONDER) -> dns.message.Message:
    """Only who speaks EDNS is told why."""
    return exchange(dns.message.make_query(name, "A", use_edns=0), responder=responder)


@pytest.mark.parametrize(
    "name", [V4, ABSENT, "smtpnic.example.", "36.2.0.192.list.smtpnic.example."]
)
def test_behind_its_peers_it_answers_nothing(name: str) -> None:
    """SERVFAIL, and why, whatever is asked: another mirror knows better."""
    response = ask_edns(name, make_responder(condition=Condition.BEHIND))
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


@pytest.mark.parametrize(("days", "rcode"), [(13, dns.rcode.NOERROR), (15, dns.rcode.SERVFAIL)])
def test_a_register_that_nobody_vouches_for(days: int, rcode: dns.rcode.Rcode) -> None:
    """Lookups outlive the primary, for 14 days (P7)."""
    assert rcode == ask(V4, now=NOW_S + days * DAY).rcode()


def test_whois_says_it_too() -> None:
    """Nothing while all is well."""
    assert "" == remark(Condition.GOOD)
    assert "behind" in remark(Condition.BEHIND)
    assert "two registers" in remark(Condition.FORKED)
