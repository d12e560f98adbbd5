"""Certificates from their own side: requests, what they say, and when they are renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from node.certificates import (
    MAX_REQUEST_BYTES,
    RENEW_AFTER,
    RENEW_SPREAD,
    Shown,
    make_key,
    make_request,
    public_digest,
    read_request,
    show,
)
from node.errors import ConfigurationError
from primary.pki import Authority, Life, Names
from registry.errors import Problem

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = Names.parse([], ["192.0.2.1"])


def test_a_request_becomes_a_certificate_of_its_key() -> None:
    """The certificate says the node's name and key, and is good as long as asked for."""
    key = make_key()
    authority = Authority.create("example.org", NOW)
    certificate = authority.certify_node(
        "alpha", NAMES, read_request(make_request(key, "alpha")), Life(NOW, 30)
    )
    shown = show(certificate)
    assert ("alpha", public_digest(key)) == (shown.name, shown.key)
    assert (NOW - timedelta(hours=1), NOW + timedelta(days=30)) == (shown.begins, shown.ends)
    assert 30.0 == shown.days_left(NOW)


def test_a_request_that_somebody_changed_is_refused() -> None:
    """Whoever asks has the key: the signature is checked."""
    request = bytearray(make_request(make_key(), "alpha"))
    request[-1] ^= 1
    with pytest.raises(Problem, match=r"not signed with its own key|not a certificate request"):
        read_request(bytes(request))


@given(st.one_of(st.binary(max_size=600), st.binary(min_size=MAX_REQUEST_BYTES + 1, max_size=5000)))
def test_any_bytes_are_a_request_or_a_problem(data: bytes) -> None:
    """Whatever a stranger sends."""
    with pytest.raises(Problem):
        read_request(data)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_keys_of_other_kinds_are_refused(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    """Before a certificate is made that some peer cannot use."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises((ConfigurationError, Problem)):
        read_request(make_request(pem, "alpha"))


@given(st.binary(min_size=32, max_size=32), st.floats(0.0001, 800))
def test_renewal_comes_in_the_last_third_and_is_spread(digest: bytes, days: float) -> None:
    """Never before two thirds of a life, and early enough for failures."""
    life = timedelta(days=days)
    shown = Shown("alpha", bytes(32), NOW, NOW + life, digest)
    share = (shown.renewal - NOW) / life
    assert RENEW_AFTER - 1e-3 <= share <= RENEW_AFTER + RENEW_SPREAD + 1e-3


@pytest.mark.parametrize("days", [0.0001, 1, 90, 398])
def test_no_certificate_is_due_when_it_is_made(days: float) -> None:
    """However short its life: what is given to slow clocks is a small part of it."""
    identity = Authority.create("example.org", NOW).issue_node("alpha", NAMES, NOW, days)
    assert show(identity.certificate).renewal > NOW
