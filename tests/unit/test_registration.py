"""Registrations: what makes one, and how it travels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError, Problem
from registry.kinds import Status
from registry.registration import MAX_REASON_BYTES, Registration
from registry.wire.v1 import log_pb2
from tests.support.strategies import registrations

REGISTRATION = Registration(
    bytes(16), "mail.example.org", "example.org", Status.ACTIVE, 1_700_000_000_000
)


@given(registrations())
def test_a_registration_leads_back(registration: Registration) -> None:
    """A registration's payload decodes to that registration."""
    assert Registration.decode(registration.encode()) == registration


@given(st.binary(max_size=200))
def test_any_bytes_are_a_registration_or_malformed(data: bytes) -> None:
    """Arbitrary bytes give a registration or a MalformedError."""
    try:
        registration = Registration.decode(data)
    except MalformedError:
        return
    assert Registration.decode(registration.encode()) == registration


def test_a_host_may_be_its_domain() -> None:
    """A server named like its domain is within it."""
    assert replace(REGISTRATION, host="example.org").domain == "example.org"


@pytest.mark.parametrize(
    ("part", "value", "code"),
    [
        ("holder_id", bytes(15), "holder"),
        ("host", "Mail.example.org", "host"),
        ("host", "mail.example.org.", "host"),
        ("host", "mail_1.example.org", "host"),
        ("host", "org", "host"),
        ("host", "", "host"),
        ("domain", "example.net", "domain"),
        ("domain", "ample.org", "domain"),
        ("domain", "org", "domain"),
        ("domain", "", "domain"),
        ("domain", ".example.org", "domain"),
        ("reason", "two\nlines", "reason"),
        ("reason", "\u202eback", "reason"),
        ("reason", "\ud800", "reason"),
        ("reason", "x" * (MAX_REASON_BYTES + 1), "reason"),
    ],
)
def test_a_part_that_does_not_fit_is_named(part: str, value: object, code: str) -> None:
    """No registration exists whose parts are not canonical, or whose host is elsewhere."""
    parts = {
        "holder_id": REGISTRATION.holder_id,
        "host": REGISTRATION.host,
        "domain": REGISTRATION.domain,
        "reason": REGISTRATION.reason,
        part: value,
    }

    with pytest.raises(Problem) as caught:
        Registration(status=Status.ACTIVE, registered_ms=1, **parts)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.field) == (code, part)


def test_on_the_wire_the_same_is_malformed() -> None:
    """From a peer, a registration that does not fit is the peer's fault, not a person's."""
    message = REGISTRATION.to_message()
    message.domain = "example.net"

    with pytest.raises(MalformedError, match=r"example\.net"):
        Registration.decode(message.SerializeToString())


@pytest.mark.parametrize("status", [0, 5])
def test_an_unknown_status_is_malformed(status: int) -> None:
    """A status is one of those that have a name."""
    message = REGISTRATION.to_message()
    message.status = log_pb2.Status.ValueType(status)

    with pytest.raises(MalformedError):
        Registration.decode(message.SerializeToString())
