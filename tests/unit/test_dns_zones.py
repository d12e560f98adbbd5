"""The reversed lists, and which zone answers."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest

from secondary.dns.dashed_zone import DashedNames
from secondary.dns.identity import Identity
from secondary.dns.table import DictTable
from secondary.dns.zones import Zones
from tests.support.responding import ask, exchange, make_responder, texts, zone
from tests.support.views import put_registration, registration, standing

LIST, UNLISTED = "list.smtpnic.example.", "unlisted.smtpnic.example."
V6 = "6.3" + ".0" * 22 + ".8.b.d.0.1.0.0.2"
TEST_V6 = ".0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20
NOERROR, NXDOMAIN = dns.rcode.NOERROR, dns.rcode.NXDOMAIN


@pytest.mark.parametrize("name", ["36.2.0.192", V6, "2.0.0.127", "2" + TEST_V6])
def test_listed(name: str) -> None:
    """RFC 5782, 2.1, 2.4 and 5: 127.0.0.2 and a text, for five minutes."""
    assert [f"{name}.{LIST} 300 IN A 127.0.0.2"] == texts(ask(f"{name}.{LIST}"))
    assert "v=smtpnic1; " in texts(ask(f"{name}.{LIST}", "TXT"))[0]
    assert (NOERROR, []) == outcome(f"{name}.{LIST}", "AAAA")


@pytest.mark.parametrize("name", ["1.0.0.127", "1" + TEST_V6, "38.2.0.192", "x.36.2.0.192", "x"])
def test_not_listed(name: str) -> None:
    """RFC 5782, 5: NXDOMAIN for test entries, suspended addresses, and what is no address."""
    assert (NXDOMAIN, []) == outcome(f"{name}.{LIST}")


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("192", NOERROR),
        ("2.0.192", NOERROR),
        ("3.0.192", NXDOMAIN),
        ("127", NOERROR),
        ("1.0.0.2", NOERROR),
        ("2.0.0.2", NXDOMAIN),
        ("8.b.d.0.1.0.0.2", NOERROR),
    ],
)
def test_empty_non_terminals(name: str, rcode: dns.rcode.Rcode) -> None:
    """RFC 8020: what has a listed name below it exists, an IPv4 address's name included."""
    assert (rcode, []) == outcome(f"{name}.{LIST}")


@pytest.mark.parametrize("name", ["8.8.8.8", "2.0.0.127", "2" + TEST_V6])
def test_unlisted(name: str) -> None:
    """127.0.0.2 is given for what is not registered, for a minute, with what to do about it."""
    assert [f"{name}.{UNLISTED} 60 IN A 127.0.0.2"] == texts(ask(f"{name}.{UNLISTED}"))
    assert "https://smtpnic.example/" in texts(ask(f"{name}.{UNLISTED}", "TXT"))[0]


@pytest.mark.parametrize("name", ["1.0.0.10", "1.0.0.127", "99.2.0.192", V6, "1" + TEST_V6])
def test_special_addresses_are_never_unlisted(name: str) -> None:
    """Nobody is refused for an address that cannot be registered."""
    assert (NXDOMAIN, []) == outcome(f"{name}.{UNLISTED}")


def test_registered_is_not_unlisted() -> None:
    """A registered address is absent; where nibbles may stand below its name, it is empty."""
    table = DictTable()
    put_registration(table, "9.9.9.9", registration())
    put_registration(table, "80.9.9.9", registration())
    table.advance(standing())
    responder = make_responder(table)

    assert NXDOMAIN == ask(f"9.9.9.80.{UNLISTED}", responder=responder).rcode()
    empty = ask(f"9.9.9.9.{UNLISTED}", responder=responder)
    assert (NOERROR, []) == (empty.rcode(), empty.answer)
    assert (NOERROR, []) == outcome(f"9.9.{UNLISTED}")


def test_the_parent_answers_for_ds() -> None:
    """RFC 4035, 3.1.4.1; each zone has its own SOA."""
    assert "smtpnic.example." == str(ask(LIST, "DS").authority[0].name)
    assert LIST == str(ask(LIST, "A").authority[0].name)


def test_two_zones_of_one_name_are_refused() -> None:
    """Neither could be told from the other."""
    with pytest.raises(ValueError, match="one origin"):
        Zones([zone("a.example", DashedNames()), zone("a.example", DashedNames())])


def test_chaos_names() -> None:
    """RFC 4892: told when configured, REFUSED when hidden."""
    responder = make_responder(identity=Identity(name="mirror-1"))

    shown = exchange(dns.message.make_query("id.server.", "TXT", "CH"), responder=responder)
    hidden = exchange(dns.message.make_query("version.bind.", "TXT", "CH"), responder=responder)

    assert ['id.server. 0 CH TXT "mirror-1"'] == texts(shown)
    assert dns.rcode.REFUSED == hidden.rcode()


def test_cookie_lengths() -> None:
    """RFC 7873, 4 and 5.2.2: a client cookie gets a server's; other lengths are FORMERR."""
    for length, rcode in ((8, NOERROR), (7, dns.rcode.FORMERR), (12, dns.rcode.FORMERR)):
        option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(length))
        query = dns.message.make_query(f"36.2.0.192.{LIST}", "A", use_edns=0, options=[option])
        response = exchange(query)
        assert rcode == response.rcode()
        assert (rcode == NOERROR) == bool(response.options)


def outcome(name: str, type_: str = "A") -> tuple[dns.rcode.Rcode, list[str]]:
    response = ask(name, type_)
    return response.rcode(), texts(response)
