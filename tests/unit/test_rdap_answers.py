"""What RDAP says: JSON for every kind of path, from a directory in memory."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.lookup.rdap import CONFORMANCE, RdapAnswer, answer
from node.lookup.whois import MAX_LISTED
from registry.kinds import ContactField, Status
from registry.note import encode_base64
from secondary.whois.directory import DirectoryView
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import fill_view

ZONE = "smtpnic.org"
URL = "https://rdap.smtpnic.org/"
FRESH_S = 1_800_000_000
SECRETIVE = bytes(16)


def small_log() -> LogBuilder:
    log = LogBuilder()
    log.put_holder()
    log.put_holder(
        SECRETIVE,
        public={},
        private={ContactField.NAME: "Nobody Knows", ContactField.EMAIL: "secret@example.net"},
    )
    log.put_registration("192.0.2.36", verified_ms=1_700_604_800_000)
    log.put_registration("2001:db8::36", "mail6.example.org")
    log.put_registration(
        "192.0.2.37", "two.example.org", status=Status.SUSPENDED, reason="spam", holder_id=SECRETIVE
    )
    log.commit()
    return log


LOG = small_log()
DIRECTORY = DirectoryView()
fill_view(DIRECTORY, LOG, FRESH_S)


def ask(path: str, remark: str = "") -> RdapAnswer:
    return answer(path, DIRECTORY, ZONE, URL, remark)


def found(path: str) -> Any:
    said = ask(path)
    assert HTTPStatus.OK == said.status, said.body
    return said.body


def test_an_address_is_a_network_of_one() -> None:
    """RFC 9083, 5.4: its members, its holder, its events, and where the log stands."""
    body = found("ip/192.0.2.36")

    assert list(CONFORMANCE) == body["rdapConformance"]
    assert ("ip network", "192.0.2.36", "192.0.2.36", "v4") == tuple(
        body[name] for name in ("objectClassName", "startAddress", "endAddress", "ipVersion")
    )
    assert ["active", "validated"] == body["status"]
    assert {
        "registration": "2023-11-14T22:13:22Z",
        "last changed": "2023-11-14T22:13:22Z",
        "last update of RDAP database": "2027-01-15T08:00:00Z",
    } == {event["eventAction"]: event["eventDate"] for event in body["events"]}
    assert ["registrant"] == body["entities"][0]["roles"]
    assert {"self", "related"} == {link["rel"] for link in body["links"]}
    assert {"origin": ZONE, "size": 6, "root": encode_base64(LOG.root)} == body["smtpnic_log"]
    assert body["smtpnic_registration"] == {
        "host": "mail.example.org",
        "domain": "example.org",
        "status": "active",
        "verified": "2023-11-21T22:13:20Z",
        "logIndex": 2,
    }
    # Of what nobody has looked at there is no date.
    assert "verified" not in found("ip/2001:db8::36")["smtpnic_registration"]


@pytest.mark.parametrize("path", ["ip/2001:DB8:0::36", "ip/2001:db8::36/128", "ip/2001:db8::36/"])
def test_an_address_is_found_in_any_spelling(path: str) -> None:
    """RFC 9082, 3.1.1."""
    assert "2001:db8::36" == found(path)["handle"]


def test_a_dashed_name_is_a_domain_with_its_network() -> None:
    """RFC 9083, 5.3."""
    body = found("domain/192-0-2-36.SMTPNIC.org")

    assert ("domain", "192-0-2-36.smtpnic.org") == (body["objectClassName"], body["ldhName"])
    assert "192.0.2.36" == body["network"]["startAddress"]
    assert HOLDER_ID.hex() == body["entities"][0]["handle"]


def test_contact_is_a_jcard_and_what_is_private_is_marked() -> None:
    """RFC 7095, RFC 9537: what is not shown is said, and why."""
    body = found("ip/192.0.2.36")
    _, card = body["entities"][0]["vcardArray"]

    assert [
        ["version", {}, "text", "4.0"],
        ["fn", {}, "text", "Example Networks"],
        ["email", {}, "text", "postmaster@example.org"],
    ] == card
    assert [
        ("Registrant Postal Address", "removal", "prePath"),
        ("Registrant Phone", "removal", "prePath"),
    ] == [
        (each["name"]["description"], each["method"], list(each)[-1]) for each in body["redacted"]
    ]
    assert "$.entities[0].vcardArray[1][?(@[0]=='adr')]" == body["redacted"][0]["prePath"]


def test_who_is_private_is_reached_through_the_relay() -> None:
    """P6: the value in the e-mail's place is the relay's, and is marked as a replacement."""
    body = found(f"entity/{SECRETIVE.hex()}")
    _, card = body["vcardArray"]

    assert ["email", {}, "text", f"relay+{SECRETIVE.hex()}@{ZONE}"] == card[-1]
    assert ["emptyValue", "replacementValue"] == [each["method"] for each in body["redacted"]]
    assert "secret@example.net" not in json.dumps(body)
    assert "Nobody Knows" not in json.dumps(body)


def test_a_telephone_is_a_uri_and_an_address_a_label() -> None:
    """RFC 6350, 6.4.1 and 6.3.1."""
    log = LogBuilder()
    everything = {
        ContactField.NAME: "Zoë",
        ContactField.POSTAL_ADDRESS: "1 Example Street, 8000 Zürich",
        ContactField.TELEPHONE: "+41 44 668 18 00",
    }
    log.put_holder(public=everything, private={})
    log.commit()
    directory = DirectoryView()
    fill_view(directory, log)
    _, card = answer(f"entity/{HOLDER_ID.hex()}", directory, ZONE, URL).body["vcardArray"]

    assert ["adr", {"label": "1 Example Street, 8000 Zürich"}, "text", [""] * 7] == card[2]
    assert ["tel", {"type": "voice"}, "uri", "tel:+41446681800"] == card[3]


def test_a_suspended_one_says_so_with_the_reason() -> None:
    """What DNS hides, RDAP explains."""
    body = found("ip/192.0.2.37")

    assert ["inactive", "locked"] == body["status"]
    assert [{"title": "Reason", "description": ["spam"]}] == body["remarks"]


def test_a_holder_lists_networks_to_a_limit() -> None:
    """And says that there are more."""
    log = LogBuilder()
    log.put_holder()
    for number in range(MAX_LISTED + 5):
        log.put_registration(f"198.18.0.{number}")
    log.commit()
    directory = DirectoryView()
    fill_view(directory, log)
    body = answer(f"entity/{HOLDER_ID.hex()}", directory, ZONE, URL).body

    assert MAX_LISTED == len(body["networks"])
    assert f"{MAX_LISTED + 5} addresses" in body["remarks"][0]["description"][0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ip/192.0.2.99", 404),
        ("ip/192.0.2.0/24", 404),
        ("ip/192.0.2.256", 400),
        ("ip/", 400),
        ("domain/192-0-2-99.smtpnic.org", 404),
        ("domain/192-0-2-36.example.org", 404),
        ("domain/example.org", 404),
        ("domain/a b", 400),
        ("entity/" + "0f" * 16, 404),
        ("entity/me", 400),
        ("nameserver/ns.example.org", 404),
        ("nameserver/-", 400),
        ("autnum/64496", 400),
        ("domains", 400),
        ("", 400),
    ],
)
def test_what_is_not_there_is_an_error_in_json(path: str, status: int) -> None:
    """RFC 7480, 5.3 and 5.4; RFC 9083, 6."""
    said = ask(path)

    assert (status, status) == (said.status, said.body["errorCode"])
    assert said.body["description"]
    assert list(CONFORMANCE) == said.body["rdapConformance"]


def test_help_has_terms_and_statistics() -> None:
    """RFC 9082, 3.1.6."""
    body = found("help")

    assert {"Help", "Statistics", "Terms of use", "How to check this"} == {
        notice["title"] for notice in body["notices"]
    }
    assert {"new": 0, "active": 1, "lapsed": 0, "suspended": 1} == body["smtpnic_statistics"][
        "ipv4"
    ]
    assert 1 == body["smtpnic_statistics"]["domains"]


def test_never_loaded_is_no_answer_and_a_doubt_is_told() -> None:
    """P3: nobody is told that something is not there by who cannot know."""
    assert 503 == answer("ip/192.0.2.36", None, ZONE, URL).status
    body = ask("ip/192.0.2.36", "this server is behind others").body
    assert {"title": "Warning", "description": ["this server is behind others"]} == body["notices"][
        0
    ]


@given(
    st.one_of(
        st.text(max_size=80),
        st.sampled_from(["ip/", "domain/", "entity/"]).flatmap(
            lambda kind: st.text(max_size=80).map(lambda text: kind + text)
        ),
    )
)
def test_any_path_has_an_answer(path: str) -> None:
    """Whatever is asked, JSON with a status comes back."""
    said = ask(path)

    assert said.status in (200, 400, 404)
    json.dumps(said.body, ensure_ascii=False).encode()
