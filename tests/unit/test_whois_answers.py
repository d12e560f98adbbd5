"""What WHOIS says: the text for every kind of question, from a directory in memory."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.lookup.directory import Directory as PrimaryDirectory
from node.lookup.whois import MAX_LISTED, NEVER_LOADED, answer
from registry.address import Address
from registry.batch import Record
from registry.contact import Opening
from registry.entry import state_key
from registry.kinds import ContactField, Kind, Status
from registry.note import encode_base64
from secondary.whois.directory import DirectoryView as Directory
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import fill_view
from tests.support.views import put_registration, registration, standing

ZONE = "smtpnic.org"
FRESH_S = 1_800_000_000
# A week after it was registered.
VERIFIED_MS = 1_700_604_800_000
V4_TEXT = """\
address:         192.0.2.36
dns-name:        192-0-2-36.smtpnic.org
host:            mail.example.org
domain:          example.org
status:          active
verified:        2023-11-21T22:13:20Z
reviews:         about once a day, or as the board has set
registered:      2023-11-14T22:13:21Z
last-updated:    2023-11-14T22:13:21Z
holder:          000102030405060708090a0b0c0d0e0f
contact:         Example Networks
contact-email:   postmaster@example.org
log-index:       1
log-origin:      smtpnic.org
log-size:        6
log-root:        {root}
as-of:           2027-01-15T08:00:00Z
% Checked with the board's root alone, at any mirror:
%   smtpnic verify 192.0.2.36 --mirror HOST:PORT --root root.note
"""


def small_log() -> LogBuilder:
    log = LogBuilder()
    log.put_holder()
    log.put_registration("192.0.2.36", verified_ms=VERIFIED_MS)
    log.put_registration("2001:db8::36", "mail6.example.org")
    log.put_registration("192.0.2.38", "two.example.org")
    log.put_registration("192.0.2.37", "two.example.org", status=Status.SUSPENDED, reason="spam")
    log.commit()
    return log


def directory_of(log: LogBuilder) -> Directory:
    directory = Directory()
    fill_view(directory, log, FRESH_S)
    return directory


DIRECTORY = directory_of(small_log())


def ask(question: str) -> str:
    return answer(question, DIRECTORY, ZONE)


@pytest.mark.parametrize(
    "question",
    [
        "192.0.2.36",
        " 192.0.2.36 \r\n",
        "192-0-2-36",
        "192-0-2-36.smtpnic.org",
        "192-0-2-36.SMTPNIC.org.",
        "mail.example.org",
        "MAIL.example.org.",
    ],
)
def test_a_registration_is_told_whole_however_it_is_asked_for(question: str) -> None:
    """Address, dashed name and host name lead to the same text."""
    assert V4_TEXT.format(root=encode_base64(small_log().root)) == ask(question)


@pytest.mark.parametrize(
    "question",
    [
        "2001:db8::36",
        "2001:DB8:0:0:0:0:0:36",
        "2001-0db8-0000-0000-0000-0000-0000-0036",
        "mail6.example.org",
    ],
)
def test_an_ipv6_registration_is_found_in_any_spelling(question: str) -> None:
    """The answer gives the canonical address and the name in DNS."""
    text = ask(question)

    assert "address:         2001:db8::36\n" in text
    assert "dns-name:        2001-0db8-0000-0000-0000-0000-0000-0036.smtpnic.org\n" in text


def test_the_date_of_verification_is_the_last_that_is_known() -> None:
    """A mirror tells the log's; the primary a later look, where it had one; nobody makes one up."""
    listing = DIRECTORY.find(Address.parse("192.0.2.36"))
    assert listing is not None
    for looked_ms, told_ms in ((VERIFIED_MS + 1, VERIFIED_MS + 1), (0, VERIFIED_MS)):
        looks = {(listing.address, HOLDER_ID): looked_ms}
        primary = PrimaryDirectory(lambda *whose, looks=looks: looks[whose])
        assert primary.verified_ms(listing) == told_ms
    assert "verified:" not in ask("192.0.2.38")


def test_status_and_its_reason_are_told() -> None:
    """What DNS hides, WHOIS explains."""
    text = ask("192.0.2.37")

    assert "status:          suspended\n" in text
    assert "reason:          spam\n" in text


def test_a_host_with_several_addresses_lists_them() -> None:
    """The addresses stand in order, with the advice to ask for one."""
    text = ask("two.example.org")

    assert text.startswith(
        "host:            two.example.org\n"
        "addresses:       2\n"
        "address:         192.0.2.37\n"
        "address:         192.0.2.38\n"
    )
    assert text.endswith("% ask for one of the addresses to see its registration\n")


def test_a_host_with_very_many_addresses_lists_some() -> None:
    """The list is bounded, the count is not."""
    log = LogBuilder()
    for number in range(MAX_LISTED + 5):
        log.put_registration(f"198.18.0.{number}", "many.example.org")
    log.commit()

    text = answer("many.example.org", directory_of(log), ZONE)

    assert f"addresses:       {MAX_LISTED + 5}\n" in text
    assert MAX_LISTED == text.count("\naddress: ")


@pytest.mark.parametrize("question", ["192.0.2.99", "192-0-2-99", "other.example.org"])
def test_no_match_says_how_to_register(question: str) -> None:
    """What is not registered is said so, with the command that registers it."""
    text = ask(question)

    assert text.startswith("% no match: ")
    assert "smtpnic register" in text
    assert "log-size:        6\n" in text


@pytest.mark.parametrize("question", ["", "help", "HELP\r\n", "?"])
def test_help(question: str) -> None:
    """The help names what can be asked, loaded or not."""
    assert "192-0-2-36.smtpnic.org" in ask(question)
    assert "mail.example.org" in answer(question, None, ZONE)


@pytest.mark.parametrize("question", ["192.0.2.256", "a b", "-x", "\x1b[2J", "x" * 1000])
def test_what_is_not_understood_gets_help(question: str) -> None:
    """Nonsense is repeated without its control characters, and help follows."""
    text = ask(question)

    assert "is nothing that can be asked for\n" in text
    assert "% Ask for one of these:\n" in text
    assert "\x1b" not in text


def test_never_loaded_is_no_answer() -> None:
    """P3: before anything is loaded nobody is told that there is no match."""
    assert NEVER_LOADED == answer("192.0.2.36", None, ZONE)


def test_private_contact_is_never_told() -> None:
    """P6: only what was opened is shown."""
    text = ask("192.0.2.36")

    assert "contact-address" not in text
    assert "contact-phone" not in text


def test_erased_contact_is_gone() -> None:
    """P6: without openings the registration stands, the contact does not."""
    directory = directory_of(small_log())

    directory.remove_openings(state_key(Kind.HOLDER, HOLDER_ID))

    text = answer("192.0.2.36", directory, ZONE)
    assert "host:            mail.example.org\n" in text
    assert "contact-email" not in text
    assert f"contact-relay:   relay+{HOLDER_ID.hex()}@smtpnic.org\n" in text


def test_a_network_lists_its_registrations_in_order() -> None:
    """Those of its own version alone; the host bits of the question do not matter."""
    assert (
        "network:         192.0.2.36/31\n"
        "addresses:       2\n"
        "address:         192.0.2.36\n"
        "address:         192.0.2.37\n"
    ) in ask("192.0.2.37/31")
    assert "addresses:       3\n" in ask("0.0.0.0/0")
    assert "addresses:       1\n" in ask("network ::/0")
    assert "% no match: nothing is registered for 10.0.0.0/8\n" in ask("10.0.0.0/8")


def test_a_domain_lists_what_stands_at_it_and_below() -> None:
    """And nothing whose name only looks like it."""
    log = small_log()
    log.put_registration("198.51.100.1", "example.org", "example.org")
    log.put_registration("198.51.100.2", "a.example-org.net", "example-org.net")
    log.put_registration("198.51.100.3", "mail.example.org-x.net", "org-x.net")
    log.commit()
    directory = directory_of(log)

    text = answer("domain example.org", directory, ZONE)

    assert "addresses:       5\naddress:         198.51.100.1\n" in text
    assert "198.51.100.2" not in text
    assert "198.51.100.3" not in text
    assert "host:            example.org\n" in answer("example.org", directory, ZONE)
    assert "domain:          org\n" not in answer("domain org", directory, ZONE)


def test_a_holder_is_told_with_its_addresses() -> None:
    """By its identifier, or by its relay address."""
    text = ask(HOLDER_ID.hex())

    assert text.startswith(f"holder:          {HOLDER_ID.hex()}\ncreated: ")
    assert "contact-email:   postmaster@example.org\n" in text
    assert "addresses:       4\n" in text
    assert text == ask(f"relay+{HOLDER_ID.hex()}@smtpnic.org")
    assert text == ask(f"holder {HOLDER_ID.hex().upper()}")
    assert "% no match: there is no holder 0" in ask("holder " + "0" * 32)


def test_stats_count_what_there_is() -> None:
    """By IP version, status and age; of what is served at this moment."""
    lines = dict(line.split(":", 1) for line in ask("stats").splitlines())
    counts = {name: value.strip() for name, value in lines.items()}

    assert ("4", "3", "1") == tuple(counts[n] for n in ("registrations", "of-ipv4", "of-ipv6"))
    assert ("3", "1", "1", "1") == tuple(
        counts[name] for name in ("active", "suspended", "domains", "holders")
    )
    assert 4 == sum(int(value) for name, value in counts.items() if name.startswith("days-"))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.none() | st.sampled_from(["a.example.org", "b.example.org", "b.example.net"]),
        ),
        max_size=40,
    ),
    st.integers(0, 40),
)
def test_the_index_is_what_the_records_say(
    changes: list[tuple[int, str | None]], loaded: int
) -> None:
    """Whatever comes and goes, before the load is complete or after it."""
    directory, hosts = Directory(), dict[Address, str]()
    for at, (number, host) in enumerate(changes):
        if at == loaded:
            directory.advance(standing())
        address = Address(bytes([192, 0, 2, number]))
        key = state_key(Kind.REGISTRATION, address.packed)
        if host is None:
            directory.remove(key)
            hosts.pop(address, None)
        else:
            put_registration(directory, str(address), registration(host=host))
            hosts[address] = host

    every = tuple(sorted(hosts))
    assert every == directory.within(ip_network("192.0.2.0/24"), 99).addresses
    for name in ("a.example.org", "b.example.org", "b.example.net"):
        expected = tuple(a for a in every if hosts[a] == name)
        assert expected == directory.of_host(name, 99).addresses
    in_org = {a for a in every if hosts[a].endswith(".org")}
    assert in_org == set(directory.of_domain("example.org", 99).addresses)
    assert every == directory.of_holder(HOLDER_ID, 99).addresses


def test_a_false_opening_is_left_out() -> None:
    """P2: an opening that does not open the holder's commitment is not shown."""
    directory = directory_of(small_log())
    forged = Opening(ContactField.NAME, bytes(32), "Somebody Else")

    directory.put_openings(state_key(Kind.HOLDER, HOLDER_ID), Record(0, b"", (forged,)).encode())

    assert "Somebody Else" not in answer("192.0.2.36", directory, ZONE)


def test_a_host_name_follows_its_registration() -> None:
    """After an update the old name leads nowhere and the new one to the address; then nowhere."""
    log = small_log()
    directory = directory_of(log)
    log.put_registration("192.0.2.38", "new.example.org")
    log.commit()
    fill_view(directory, log)

    assert (Address.parse("192.0.2.38"),) == directory.of_host("new.example.org", 9).addresses
    assert (Address.parse("192.0.2.37"),) == directory.of_host("two.example.org", 9).addresses

    directory.remove(state_key(Kind.REGISTRATION, Address.parse("192.0.2.38").packed))
    directory.remove(state_key(Kind.REGISTRATION, Address.parse("192.0.2.37").packed))
    assert [0, 0] == [
        directory.of_host(name, 9).count for name in ("new.example.org", "two.example.org")
    ]


@given(st.text(max_size=300))
def test_any_question_has_an_answer_in_plain_lines(question: str) -> None:
    """Whatever is asked, lines of printable text come back."""
    text = ask(question)

    assert text.endswith("\n")
    assert text.replace("\n", "").isprintable()
