"""Who is accepted, advised, refused or asked to come back."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from node.finding import Finding
from node.receiving import Mode, OnFailure
from policyd.decision import Client, Outcome, Policy
from registry.address import Address

OWN = (ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("192.0.2.0/24"))


def policy(mode: Mode = Mode.ENFORCE, on_failure: OnFailure = OnFailure.ACCEPT) -> Policy:
    return Policy(mode, on_failure, "https://smtpnic.org/", OWN)


@pytest.mark.parametrize(
    ("mode", "on_failure", "finding", "expected"),
    [
        (Mode.ENFORCE, OnFailure.ACCEPT, Finding.REGISTERED, Outcome.ACCEPT),
        (Mode.ENFORCE, OnFailure.ACCEPT, Finding.NOT_REGISTERED, Outcome.REFUSE),
        (Mode.ENFORCE, OnFailure.ACCEPT, Finding.FAILURE, Outcome.ACCEPT),
        (Mode.ENFORCE, OnFailure.TEMPFAIL, Finding.FAILURE, Outcome.TEMPFAIL),
        (Mode.ADVISE, OnFailure.TEMPFAIL, Finding.FAILURE, Outcome.ACCEPT),
        (Mode.ADVISE, OnFailure.ACCEPT, Finding.NOT_REGISTERED, Outcome.ADVISE),
        (Mode.ADVISE, OnFailure.ACCEPT, Finding.REGISTERED, Outcome.ACCEPT),
    ],
)
def test_outcomes(mode: Mode, on_failure: OnFailure, finding: Finding, expected: Outcome) -> None:
    """A failure never refuses, and delays only who was set up to."""
    assert expected == policy(mode, on_failure).outcome(finding, is_trusted=True)


@pytest.mark.parametrize("finding", Finding)
def test_nothing_is_enforced_while_the_registry_is_not_trusted(finding: Finding) -> None:
    """Whatever DNS says then."""
    strict = policy(Mode.ENFORCE, OnFailure.TEMPFAIL)
    assert Outcome.ACCEPT == strict.outcome(finding, is_trusted=False)


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (Client("11.0.0.1"), "11.0.0.1"),
        (Client("::ffff:11.0.0.1"), "11.0.0.1"),
        (Client("2a00::1"), "2a00::1"),
        (Client("11.0.0.1", "someone@mx.example"), "11.0.0.1"),
        (Client("11.0.0.1", "postmaster@mx.example"), None),
        (Client("11.0.0.1", "PostMaster"), None),
        (Client("11.0.0.1", is_authenticated=True), None),
        (Client("192.0.2.9"), None),
        (Client("::ffff:127.0.0.1"), None),
        (Client("::1"), None),
        (Client("unknown"), None),
        (Client(""), None),
    ],
)
def test_whose_registration_matters(client: Client, expected: str | None) -> None:
    """Postmaster's mail, authenticated users and own networks are exempt; ::ffff: is IPv4."""
    address = policy().subject(client)
    assert expected == (None if address is None else str(address))


def test_texts_name_the_address_and_where_to_register() -> None:
    """What a person reads in a bounce."""
    address = Address.parse("11.0.0.1")
    assert (
        "communication denied: 11.0.0.1 is no registered mail server, see https://smtpnic.org/"
        == policy().refusal(address)
    )
    assert "11.0.0.1" in policy().advice(address)
    assert "https://smtpnic.org/" in policy().advice(address)
