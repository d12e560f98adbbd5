"""P6: private stays home, and what was public is gone when it is erased: byte by byte."""

from __future__ import annotations

import os
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from lab.cluster import (
    DNS_HTTP_PORT,
    FOLLOWER_HTTP_PORT,
    PRIMARY_HTTP_PORT,
    WHOIS_HTTP_PORT,
)
from registry.holder import holder_id_of
from registry.wire.v1 import (
    log_pb2,
    registering_pb2,
    registering_pb2_grpc,
    registration_pb2,
    registration_pb2_grpc,
    replication_pb2,
    replication_pb2_grpc,
)
from tests.support.etcd import make_room
from tests.support.primaries import RunningPrimary
from tests.support.probe import Probe
from tests.support.spellings import places_of
from tests.support.wait import wait_until

SECONDS = 60
ADDRESS = "198.18.0.1"
KEY, APPLICANTS_KEY = bytes(range(32)), bytes(range(1, 33))
HOLDER, APPLICANT = holder_id_of(KEY), holder_id_of(APPLICANTS_KEY)
# Values that stand nowhere by chance, and that not every program writes down in the same way.
NAME, POSTAL, EMAIL, PHONE = (
    "Quoxälind Perthwick",
    "1 Vörnwick Straße, Zetterby / 漆原",
    "quoxälind@perthwick.example.org",
    "+1 202 555 0187",
)
PRIVATE = {log_pb2.CONTACT_FIELD_POSTAL_ADDRESS, log_pb2.CONTACT_FIELD_TELEPHONE}
VALUES = {
    log_pb2.CONTACT_FIELD_NAME: NAME,
    log_pb2.CONTACT_FIELD_POSTAL_ADDRESS: POSTAL,
    log_pb2.CONTACT_FIELD_EMAIL: EMAIL,
    log_pb2.CONTACT_FIELD_TELEPHONE: PHONE,
}
PENDING = "pending.vornwick"
# Nobody answers there, at once.
SETTINGS = {
    "SMTPNIC_PRIMARY_REGISTERING__RESOLVERS": '["127.0.0.1:9"]',
    "SMTPNIC_PRIMARY_LOG_LEVEL": "debug",
}


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[RunningPrimary]:
    """A primary with a secondary, and a holder with two public fields and two private ones."""
    primary = RunningPrimary(tmp_path, SETTINGS)
    with primary.cluster as cluster:
        cluster.start_primary()
        cluster.start_secondaries()
        stub = registration_pb2_grpc.RegistryStub(primary.public_channel())
        request = registration_pb2.CreateHolderRequest(
            holder_id=HOLDER, management_key=KEY, contact=contact(VALUES)
        )
        stub.CreateHolder(request, timeout=SECONDS)
        register = registration_pb2.RegisterRequest(
            holder_id=HOLDER,
            management_key=KEY,
            address=ADDRESS,
            host="mail.example.org",
            domain="example.org",
        )
        stub.Register(register, timeout=SECONDS)
        apply_and_wait(primary)
        yield primary


def contact(
    values: dict[log_pb2.ContactField.ValueType, str], *, hidden: bool = False
) -> list[registration_pb2.ContactValue]:
    return [
        registration_pb2.ContactValue(
            field=field, value=value, public=not hidden and field not in PRIVATE
        )
        for field, value in values.items()
    ]


def apply_and_wait(primary: RunningPrimary) -> None:
    """Somebody applies and shows nothing, all of it public to be."""
    values = dict(VALUES)
    values[log_pb2.CONTACT_FIELD_NAME] = f"{PENDING} name"
    values[log_pb2.CONTACT_FIELD_EMAIL] = f"{PENDING}@example.org"
    request = registering_pb2.BeginRequest(
        holder_id=APPLICANT,
        management_key=APPLICANTS_KEY,
        address="198.18.0.2",
        host="mail.example.net",
        domain="example.net",
        contact=contact(values),
    )
    stub = registering_pb2_grpc.RegisteringStub(primary.public_channel())
    assert not stub.Begin(request, timeout=SECONDS).HasField("receipt")


def salts(primary: RunningPrimary) -> dict[int, bytes]:
    """The holder's salts, which open the commitments."""
    file = primary.cluster.primary_dir / "data" / "registry.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT field, salt FROM contacts").fetchall()
    return dict(rows)


def whois(primary: RunningPrimary) -> str:
    return primary.cluster.secondaries[0].ask_whois(ADDRESS)


def tree(directory: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def stream(primary: RunningPrimary) -> bytes:
    """All that a new node is sent, from the log's beginning to its end."""
    size = registration_pb2_grpc.RegistryStub(primary.public_channel()).GetStatistics(
        registration_pb2.GetStatisticsRequest(), timeout=SECONDS
    )
    empty = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    stub = replication_pb2_grpc.ReplicationStub(primary.node_channel())
    request = replication_pb2.SubscribeRequest(size=0, root_hash=empty)
    sent, at = b"", 0
    events = stub.Subscribe(request, timeout=SECONDS)
    while at < size.log_size:
        event = next(events)
        sent += event.SerializeToString()
        if event.HasField("batch"):
            at = event.batch.start + len(event.batch.entries)
    events.cancel()
    return sent


def snapshot(primary: RunningPrimary) -> bytes:
    """The newest snapshot file, made now."""
    primary.command("snapshot")
    directory = primary.cluster.primary_dir / "data" / "snapshots"
    newest = max((path for path in directory.iterdir() if path.is_file()), key=os.path.getmtime)
    return newest.read_bytes()


def outside(primary: RunningPrimary) -> dict[str, bytes]:
    """Every byte that left the primary's database, by where it is."""
    secondary = primary.cluster.secondaries[0]
    ports = (FOLLOWER_HTTP_PORT, DNS_HTTP_PORT, WHOIS_HTTP_PORT)
    metrics = [(primary.cluster.primary_address, PRIMARY_HTTP_PORT)]
    metrics += [(secondary.address, port) for port in ports]
    shown = b""
    for host, port in metrics:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=SECONDS) as reply:
            shown += reply.read()
    data = primary.cluster.primary_dir / "data"
    return {
        "stream": stream(primary),
        "snapshot": snapshot(primary),
        "tiles": tree(data / "tiles"),
        "secondary's directory": tree(secondary.directory),
        "logs": primary.cluster.primary.log.read_bytes() + secondary.process.log.read_bytes(),
        "metrics": shown,
        "whois": whois(primary).encode(),
    }


def test_private_fields_stand_nowhere_but_at_the_primary(primary: RunningPrimary) -> None:
    """Nor do their salts, nor anything of an application that is not granted."""
    wait_until(lambda: EMAIL in whois(primary), seconds=SECONDS, what="it is served")
    known = salts(primary)
    secrets: list[str | bytes] = [POSTAL, PHONE, PHONE.replace(" ", ""), PENDING]
    secrets += [KEY, APPLICANTS_KEY, *(salt for field, salt in known.items() if field in PRIVATE)]
    places = outside(primary)

    assert places_of(secrets, places) == []
    # The search would find them: what is public is there.
    assert all(NAME.encode() in places[place] for place in ("stream", "snapshot", "whois"))
    assert NAME.encode() in places["secondary's directory"]


def erased_places(primary: RunningPrimary) -> dict[str, bytes]:
    """Where what was erased must not be: of etcd all but its log of writes, which rotates."""
    places = outside(primary)
    del places["secondary's directory"]
    directory = primary.cluster.secondaries[0].directory
    files = [path for path in directory.rglob("*") if path.is_file() and "member" not in path.parts]
    places["secondary's files"] = b"".join(path.read_bytes() for path in files)
    probe = Probe(primary.cluster.secondaries[0])
    with probe.store() as store:
        keys = [key for page in store.keys(b"/") for key in page]
        assert keys
        places["etcd"] = b"".join((store.get(key).value or b"") + key for key in keys)
    # As its retention does within minutes, and then its operator.
    make_room(probe.etcd_endpoint)
    (member,) = directory.rglob("member")
    places["etcd's database"] = tree(member / "snap")
    assert b"cursor" in places["etcd's database"]
    return places


@pytest.mark.parametrize("by", ["hiding", "withdrawing"])
def test_what_was_public_is_erased_everywhere(primary: RunningPrimary, by: str) -> None:
    """Once a field is hidden, or the holder withdrawn, nobody is given it any more."""
    wait_until(lambda: EMAIL in whois(primary), seconds=SECONDS, what="it is served")
    known = salts(primary)
    stub = registration_pb2_grpc.RegistryStub(primary.public_channel())
    if by == "hiding":
        request = registration_pb2.UpdateHolderRequest(
            holder_id=HOLDER, management_key=KEY, contact=contact(VALUES, hidden=True)
        )
        stub.UpdateHolder(request, timeout=SECONDS)
    else:
        withdraw(stub)
    wait_until(lambda: EMAIL not in whois(primary), seconds=SECONDS, what="it is erased")
    secrets: list[str | bytes] = [NAME, EMAIL, *known.values()]

    assert places_of(secrets, erased_places(primary)) == []
    if by == "withdrawing":
        # The whole of what the primary has, but for snapshots of before, which it keeps to give
        # to nobody.
        files = (primary.cluster.primary_dir / "data").glob("registry*")
        data = b"".join(path.read_bytes() for path in files)
        assert places_of(secrets, {"primary": data}) == []


def withdraw(stub: registration_pb2_grpc.RegistryStub) -> None:
    """The holder is no more."""
    request = registration_pb2.WithdrawRequest(
        holder_id=HOLDER, management_key=KEY, address=ADDRESS
    )
    stub.Withdraw(request, timeout=SECONDS)
    stub.WithdrawHolder(
        registration_pb2.WithdrawHolderRequest(holder_id=HOLDER, management_key=KEY),
        timeout=SECONDS,
    )


def test_errors_tell_no_secrets(primary: RunningPrimary) -> None:
    """What is refused is not repeated in the log."""
    stub = registration_pb2_grpc.RegistryStub(primary.public_channel())
    request = registration_pb2.CreateHolderRequest(
        holder_id=bytes(16), management_key=KEY, contact=contact(VALUES)[:3]
    )
    with pytest.raises(grpc.RpcError):
        stub.CreateHolder(request, timeout=SECONDS)
    log = primary.cluster.primary.log.read_bytes()
    assert places_of([*VALUES.values(), KEY], {"log": log}) == []
