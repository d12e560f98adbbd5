"""Host and domain names, from what a person writes to canonical A-labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Problem
from registry.names import is_canonical, is_within, parse_domain, parse_host, readable
from tests.support.strategies import domains


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mail.example.org", "mail.example.org"),
        ("Mail.EXAMPLE.org.", "mail.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("メール。日本", "xn--4dkua4c.xn--wgv71a"),
        ("r3---sn.example.org", "r3---sn.example.org"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        (f"{'a' * 63}.org", f"{'a' * 63}.org"),
    ],
)
def test_a_name_becomes_canonical(text: str, canonical: str) -> None:
    """Case, international letters and a final dot lead to one form."""
    assert parse_host(text, "host") == canonical
    assert parse_domain(text, "domain") == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "localhost",
        "org.",
        "mail..org",
        ".mail.org",
        "mail.org..",
        "mail_1.example.org",
        "-mail.example.org",
        "mail-.example.org",
        "mail example.org",
        "mail.example.org\n",
        "192.0.2.36",
        "example.123",
        "xn--a.example",
        "xn--bücher.example",
        "a\u200d.example",
        "\ud800.example",
        f"{'a' * 64}.org",
        f"{'é' * 63}.org",
        ".".join(["abcdefgh"] * 29),
        "é" * 10_000,
    ],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    """One label, empty labels, underscores, addresses, false A-labels, and what is too long."""
    with pytest.raises(Problem) as caught:
        parse_host(text, "ptr")
    assert (caught.value.code, caught.value.field) == ("host", "ptr")


def test_a_wrong_domain_has_its_own_code() -> None:
    """A program can tell a wrong domain from a wrong host."""
    with pytest.raises(Problem) as caught:
        parse_domain("org", "domain")
    assert caught.value.code == "domain"


def test_the_longest_name() -> None:
    """RFC 1035: 253 characters, whether or not a final dot is written."""
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])

    assert len(longest) == 253
    assert parse_host(longest, "host") == longest
    assert parse_host(f"{longest}.", "host") == longest
    with pytest.raises(Problem):
        parse_host(f"{longest}d", "host")


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_a_problem(text: str) -> None:
    """Whatever parses is canonical and parses to itself; all else is a Problem."""
    try:
        name = parse_host(text, "host")
    except Problem:
        return
    assert is_canonical(name)
    assert parse_host(name, "host") == name


@given(st.text("aAéßxXnN0-.。\u00ad\u200d", max_size=40))
def test_names_near_the_rules_are_stable(text: str) -> None:
    """International and hyphenated text parses to a fixed point, or is a Problem."""
    try:
        name = parse_host(text, "host")
    except Problem:
        return
    assert parse_host(name, "host") == name


@given(domains)
def test_a_canonical_name_is_left_alone(name: str) -> None:
    """Parsing changes nothing that is canonical already."""
    assert is_canonical(name)
    assert parse_host(name, "host") == name


@given(domains, domains)
def test_within_goes_by_labels(host: str, domain: str) -> None:
    """A host is within a domain when the domain's labels end the host's."""
    labels, suffix = host.split("."), domain.split(".")

    assert is_within(host, domain) == (labels[-len(suffix) :] == suffix)
    assert is_within(f"{host}.{domain}", domain)
    assert not is_within(f"{host}x{domain}", domain)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("mail.example.org", "mail.example.org"),
        ("mail.xn--mller-kva.example", "mail.müller.example"),
        ("xn--fiqs8s.xn--bcher-kva.example", "中国.bücher.example"),
        # Of the right form, and nothing that can be written.
        ("xn--0.example.org", "xn--0.example.org"),
    ],
)
def test_a_name_is_read_as_it_is_written(name: str, written: str) -> None:
    """And parsed again it is the same name."""
    assert readable(name) == written
    if written != name:
        assert parse_host(written, "host") == name
