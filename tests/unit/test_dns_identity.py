"""What a server says of itself, and of who asks: NSID, CHAOS names, cookies alone, limits."""

from __future__ import annotations

from pathlib import Path

import dns.edns
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from pydantic import ValidationError

from node.errors import ConfigurationError
from secondary.dns.identity import Identity
from secondary.dns.rate_limit import RateLimiter, RateLimits
from secondary.dns.reply import Transport
from secondary.dns.server import LimitedAnswers, read_cookies
from secondary.sections import DnsSettings
from tests.support.responding import CLIENT, COOKIES, V4, exchange, make_responder
from tests.support.views import NOW_S

KEY = bytes(16)
NSID = dns.edns.OptionType.NSID
COOKIE = dns.edns.OptionType.COOKIE
TRUNCATED = 0x02


def with_option(code: dns.edns.OptionType, data: bytes, name: str = V4) -> dns.message.Message:
    """A query with one EDNS option."""
    option = dns.edns.GenericOption(code, data)
    return dns.message.make_query(name, "A", use_edns=0, options=[option])


def test_nsid() -> None:
    """RFC 5001, 2.2: told to who asks, where there is one; nobody else hears of it."""
    named = make_responder(identity=Identity(nsid="mirror-1"))
    told = exchange(with_option(NSID, b""), responder=named)
    assert [b"mirror-1"] == [option.to_wire() for option in told.options]
    assert not exchange(with_option(NSID, b"")).options
    unasked = dns.message.make_query(V4, "A", use_edns=0)
    assert not exchange(unasked, responder=named).options


@pytest.mark.parametrize(
    "name", ["id.server.", "hostname.bind.", "version.server.", "version.bind."]
)
def test_chaos_names_have_texts_alone(name: str) -> None:
    """RFC 4892, 2: TXT in class CHAOS; other types are NODATA, other names REFUSED."""
    responder = make_responder(identity=Identity(name="mirror-1", version="1.2"))
    told = exchange(dns.message.make_query(name, "TXT", "CH"), responder=responder)
    assert ("1.2" if "version" in name else "mirror-1") in str(told.answer[0])
    empty = exchange(dns.message.make_query(name, "A", "CH"), responder=responder)
    assert (dns.rcode.NOERROR, []) == (empty.rcode(), empty.answer)
    other = exchange(dns.message.make_query("authors.bind.", "TXT", "CH"), responder=responder)
    assert dns.rcode.REFUSED == other.rcode()


@pytest.mark.parametrize("said", ["é", "a\n", "a" * 256])
def test_what_is_said_is_a_line_of_ascii(said: str) -> None:
    """It has to fit a character-string, and every log."""
    with pytest.raises(ValueError, match="expected"):
        Identity(name=said)


@pytest.mark.parametrize(
    ("cookie", "rcode"),
    [
        (b"12345678", dns.rcode.NOERROR),
        (COOKIES.answer(b"12345678", CLIENT, NOW_S)[0], dns.rcode.NOERROR),
        (COOKIES.answer(b"12345678", bytes(4), NOW_S)[0], dns.rcode.BADCOOKIE),
    ],
)
def test_a_cookie_alone(cookie: bytes, rcode: dns.rcode.Rcode) -> None:
    """RFC 7873, 5.4: without a question; a cookie of somebody else's is BADCOOKIE."""
    query = with_option(COOKIE, cookie)
    query.question = []
    answer = exchange(query)
    assert (rcode, []) == (answer.rcode(), answer.question)
    assert 24 == len(answer.options[0].to_wire())


def test_no_question_and_no_cookie_is_an_error() -> None:
    """RFC 9619."""
    query = dns.message.make_query(V4, "A", use_edns=0)
    query.question = []
    assert dns.rcode.FORMERR == exchange(query).rcode()


def test_what_is_limited_is_said_over_tcp() -> None:
    """TC with question and OPT and nothing else; TCP and who has a cookie are not limited."""
    answers = LimitedAnswers(make_responder(), RateLimiter(RateLimits(1, 1, 1), KEY))
    query = dns.message.make_query(V4, "A", use_edns=0)
    wire = query.to_wire()

    def ask(wire: bytes, transport: Transport = Transport.UDP) -> bytes:
        answer = answers.answer_at(wire, transport, CLIENT, NOW_S, 10**9)
        assert answer is not None
        return answer

    whole, limited = ask(wire), ask(wire)
    assert not whole[2] & TRUNCATED
    assert limited[2] & TRUNCATED
    assert len(wire) == len(limited)
    message = dns.message.from_wire(limited)
    assert (query.question, [], 0) == (message.question, message.answer, message.edns)
    assert whole == ask(wire, Transport.TCP)
    known = with_option(COOKIE, COOKIES.answer(b"12345678", CLIENT, NOW_S)[0]).to_wire()
    assert not ask(known)[2] & TRUNCATED
    assert [1, 0, 0] == answers.limiter.limited


def test_cookie_secrets_are_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    """What is wrong with it, and where, is told."""
    path = tmp_path / "cookies"
    path.write_text("00" * 16 + "\n" + "11" * 16 + "\n")
    path.chmod(0o600)
    assert (bytes(16), b"\x11" * 16) == read_cookies(path).keys
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_cookies(path)
    path.chmod(0o600)
    for wrong in ("", "00", "zz" * 16, "é", "00" * 16 + "\n" * 2 + "0"):
        path.write_text(wrong)
        with pytest.raises(ConfigurationError, match="cookies: "):
            read_cookies(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_cookies(tmp_path / "none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"list_zone": "smtpnic.org"},
        {"unlisted_zone": "list.smtpnic.org"},
        {"positive_limit": -1},
        {"error_limit": 1_000_001},
        {"threads": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    """Zones of one name, limits that are none."""
    with pytest.raises(ValidationError):
        DnsSettings.model_validate(wrong)
