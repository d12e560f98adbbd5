"""WHOIS and RDAP at the primary: a process beside it, that follows its database."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.asking import whois_answer
from lab.cluster import loopback_network
from registry.checkpoint import open_checkpoint
from registry.note import encode_base64
from registry.wire.v1 import registration_pb2
from tests.support.primaries import RunningPrimary, running_primary
from tests.support.registrant import RPC_SECONDS, Registrant
from tests.support.wait import wait_until

WHOIS_PORT, RDAP_PORT, HTTP_PORT = 4343, 7470, 7471
SECONDS = 20


@pytest.fixture(scope="module")
def address() -> str:
    """Where the lookups are."""
    return f"{loopback_network()}.9"


@pytest.fixture(scope="module")
def primary(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrimary]:
    """A primary with WHOIS and RDAP, which look at the database often."""
    environment = {
        "SMTPNIC_PRIMARY_WHOIS__LISTEN": f"{address}:{WHOIS_PORT}",
        "SMTPNIC_PRIMARY_WHOIS__HTTP": f"{address}:{HTTP_PORT}",
        "SMTPNIC_PRIMARY_WHOIS__PAUSE_SECONDS": "0.05",
        "SMTPNIC_PRIMARY_WHOIS__PER_SECOND": "0",
        "SMTPNIC_PRIMARY_RDAP__LISTEN": f"{address}:{RDAP_PORT}",
        "SMTPNIC_PRIMARY_RDAP__PER_SECOND": "0",
    }
    with running_primary(tmp_path_factory.mktemp("lookup"), environment) as running:
        yield running


@pytest.fixture(scope="module")
def registrant(primary: RunningPrimary) -> Iterator[Registrant]:
    """A holder."""
    with primary.public_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        yield registrant


def rdap(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}:{RDAP_PORT}/{path}", timeout=SECONDS) as reply:
        return json.load(reply)


def ask(address: str, question: str) -> str:
    """What WHOIS says."""
    return whois_answer((address, WHOIS_PORT), question).replace("\r\n", "\n")


def wait_told(address: str, question: str, text: str) -> str:
    """The answer, once it holds the text."""
    wait_until(lambda: text in ask(address, question), seconds=SECONDS, what=f"{text!r} told")
    return ask(address, question)


def test_what_is_registered_is_told_with_its_place_in_the_log(
    primary: RunningPrimary, address: str, registrant: Registrant
) -> None:
    """By address, network, host, domain and holder; size and root are those that were signed."""
    done = registrant.register("198.18.1.1", "mail.example.org")
    text = wait_told(address, "198.18.1.1", "host:            mail.example.org\n")

    assert f"log-index:       {done.index}\n" in text
    assert "contact-email:   postmaster@example.org\n" in text
    checkpoint = open_checkpoint(done.checkpoint, primary.keys)
    assert f"log-size:        {checkpoint.size}\n" in text
    assert f"log-root:        {encode_base64(checkpoint.root)}\n" in text
    for question in ("198.18.1.0/24", "domain example.org", registrant.holder_id.hex()):
        assert "address:         198.18.1.1\n" in ask(address, question)
    command = ["whois", "-h", address, "-p", str(WHOIS_PORT), "mail.example.org"]
    assert (
        text
        == subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout
    )


def test_changes_and_their_end_are_followed(address: str, registrant: Registrant) -> None:
    """A host that changes, an address that is withdrawn."""
    registrant.register("198.18.1.2", "old.example.org")
    wait_told(address, "old.example.org", "198.18.1.2\n")
    request = registration_pb2.UpdateRequest(
        holder_id=registrant.holder_id,
        management_key=registrant.management_key,
        address="198.18.1.2",
        host="fresh.example.org",
        domain="example.org",
    )
    registrant.stub.Update(request, timeout=RPC_SECONDS)
    wait_told(address, "fresh.example.org", "198.18.1.2\n")
    assert "% no match" in ask(address, "old.example.org")
    registrant.withdraw("198.18.1.2")
    wait_told(address, "198.18.1.2", "% no match")
    wait_told(address, "198.18.1.2/32", "% no match")


def test_contact_that_is_made_private_is_told_no_more(
    primary: RunningPrimary, address: str
) -> None:
    """P6: the opening goes with the change, and the relay takes its place."""
    with primary.public_channel() as channel:
        somebody = Registrant(channel)
        somebody.create_holder()
        somebody.register("198.18.1.3", "shy.example.org")
        wait_told(address, "198.18.1.3", "contact-email:   postmaster@example.org\n")
        holder = somebody.stub.GetHolder(
            registration_pb2.GetHolderRequest(holder_id=somebody.holder_id), timeout=RPC_SECONDS
        )
        contact = [
            registration_pb2.ContactValue(field=opening.field, value=value, public=False)
            for opening, value in zip(
                holder.holder.commitments,
                ("Shy", "1 Example Street", "shy@example.org", "+12025550123"),
                strict=True,
            )
        ]
        request = registration_pb2.UpdateHolderRequest(
            holder_id=somebody.holder_id, management_key=somebody.management_key, contact=contact
        )
        somebody.stub.UpdateHolder(request, timeout=RPC_SECONDS)
    text = wait_told(address, "198.18.1.3", "contact-relay:   relay+")
    assert "postmaster@example.org" not in text
    body = rdap(address, "ip/198.18.1.3")
    assert 4 == len(body["redacted"])


def test_rdap_says_the_same(address: str, registrant: Registrant) -> None:
    """One directory behind both."""
    registrant.register("198.18.1.4", "rdap.example.org")
    wait_told(address, "198.18.1.4", "rdap.example.org\n")
    body = rdap(address, "ip/198.18.1.4")

    assert ("ip network", "rdap.example.org") == (body["objectClassName"], body["name"])
    assert registrant.holder_id.hex() == body["entities"][0]["handle"]
    with urllib.request.urlopen(f"http://{address}:{HTTP_PORT}/readyz", timeout=SECONDS) as page:
        assert 200 == page.status


def test_it_is_started_again(primary: RunningPrimary, address: str) -> None:
    """Killed, it comes back; the primary goes on meanwhile."""
    pid = primary.cluster.primary.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (lookup,) = [
        int(child)
        for child in children
        if b"primary.lookup_process" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    subprocess.run(["kill", "-9", str(lookup)], check=True)
    wait_told(address, "stats", "registrations:")
