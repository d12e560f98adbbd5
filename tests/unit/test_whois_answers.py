"""What WHOIS says: the text for every kind of question, from a directory in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.batch import Record
from registry.contact import Opening
from registry.entry import state_key
from registry.kinds import ContactField, Kind, Status
from secondary.whois.answers import MAX_LISTED, NEVER_LOADED, answer
from secondary.whois.directory import Directory
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import fill_view

ZONE = "smtpnic.org"
FRESH_S = 1_800_000_000
V4_TEXT = """\
address:         192.0.2.36
dns-name:        192-0-2-36.smtpnic.org
host:            mail.example.org
domain:          example.org
status:          active
registered:      2023-11-14T22:13:21Z
last-updated:    2023-11-14T22:13:21Z
holder:          000102030405060708090a0b0c0d0e0f
contact:         Example Networks
contact-email:   postmaster@example.org
log-index:       1
log-origin:      smtpnic.org
log-size:        6
as-of:           2027-01-15T08:00:00Z
"""


def small_log() -> LogBuilder:
    log = LogBuilder()
    log.put_holder()
    log.put_registration("192.0.2.36")
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
    assert V4_TEXT == ask(question)


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

    assert "is no address and no name\n" in text
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
    assert "contact" not in text


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

    assert (Address.parse("192.0.2.38"),) == directory.addresses("new.example.org", 9)
    assert (Address.parse("192.0.2.37"),) == directory.addresses("two.example.org", 9)

    directory.remove(state_key(Kind.REGISTRATION, Address.parse("192.0.2.38").packed))
    directory.remove(state_key(Kind.REGISTRATION, Address.parse("192.0.2.37").packed))
    assert (0, 0) == (directory.count("new.example.org"), directory.count("two.example.org"))


@given(st.text(max_size=300))
def test_any_question_has_an_answer_in_plain_lines(question: str) -> None:
    """Whatever is asked, lines of printable text come back."""
    text = ask(question)

    assert text.endswith("\n")
    assert text.replace("\n", "").isprintable()
