"""What of domains and mailboxes is counted as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primary.registering.owners import canonical_mailbox, registrable_domain
from registry.names import parse_domain


@pytest.mark.parametrize(
    ("domain", "registrable"),
    [
        ("example.org", "example.org"),
        ("a.b.example.org", "example.org"),
        ("a.example.co.uk", "example.co.uk"),
        # A rule with a star, and its exception.
        ("a.example.anything.ck", "example.anything.ck"),
        ("a.www.ck", "www.ck"),
        # Of a private suffix: different people's.
        ("a.somebody.github.io", "somebody.github.io"),
        ("b.else.github.io", "else.github.io"),
        # Its own operator's.
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("anything.ck", "anything.ck"),
        # A suffix that the list does not know.
        ("a.b.example.no-such-suffix", "example.no-such-suffix"),
        ("example.no-such-suffix", "example.no-such-suffix"),
    ],
)
def test_a_domain_is_counted_by_its_public_suffix(domain: str, registrable: str) -> None:
    """A label below the suffix, and all that is below that; a suffix is its own."""
    assert registrable == registrable_domain(domain)


@pytest.mark.parametrize(
    ("written", "registrable"),
    [
        ("a.食狮.公司.cn", "食狮.公司.cn"),
        ("a.b.食狮.中国", "食狮.中国"),
        ("a.bücher.de", "bücher.de"),
    ],
)
def test_international_suffixes_are_known_as_a_labels(written: str, registrable: str) -> None:
    """As the registry keeps names; the list has them as people write them."""
    domain = parse_domain(written, "domain")

    assert parse_domain(registrable, "domain") == registrable_domain(domain)


@given(st.from_regex(r"([a-z0-9]{1,9}\.){1,8}[a-z]{2,9}", fullmatch=True))
def test_a_registrable_domain_is_the_domain_or_above_it(domain: str) -> None:
    """And what is counted for it is counted for itself."""
    registrable = registrable_domain(domain)

    assert domain == registrable or domain.endswith(f".{registrable}")
    assert registrable == registrable_domain(registrable)


@pytest.mark.parametrize(
    ("email", "mailbox"),
    [
        ("postmaster@example.org", "postmaster@example.org"),
        ("PostMaster@Example.ORG", "postmaster@example.org"),
        ("postmaster+one@example.org", "postmaster@example.org"),
        ("postmaster+one+two@example.org", "postmaster@example.org"),
        # No more is known: these may be three people.
        ("post.master@example.org", "post.master@example.org"),
        ("post-master@example.org", "post-master@example.org"),
        ("postmaster@mail.example.org", "postmaster@mail.example.org"),
        # Nothing stands before the tag.
        ("+one@example.org", "+one@example.org"),
        ("post@bücher.example", "post@xn--bcher-kva.example"),
        ("post@XN--BCHER-KVA.example", "post@xn--bcher-kva.example"),
        ("STRASSE@example.org", "strasse@example.org"),
        ("straße@example.org", "strasse@example.org"),
        ("Pe\u0301ter@example.org", "p\u00e9ter@example.org"),
        ("P\u00c9TER@example.org", "p\u00e9ter@example.org"),
        ("", ""),
        # As no contact may be any more.
        ("somebody", "somebody"),
        ("Some@No Domain", "some@no domain"),
    ],
)
def test_a_mailbox_has_one_spelling(email: str, mailbox: str) -> None:
    """Lower case, the domain in A-labels, no tag."""
    assert mailbox == canonical_mailbox(email)


@given(st.text(max_size=30), st.sampled_from(["example.org", "Example.org", "xn--bcher-kva.de"]))
def test_the_one_spelling_stays(local: str, domain: str) -> None:
    """What is canonical is its own canonical spelling."""
    mailbox = canonical_mailbox(f"{local}@{domain}")

    assert mailbox == canonical_mailbox(mailbox)
