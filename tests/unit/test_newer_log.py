"""A log of a newer version: what this one passes on, and what it must not go past."""

from __future__ import annotations

import pytest

from node.lookup.directory import Directory
from registry.address import Address
from registry.batch import LoggedEntry, Record
from registry.content import check_stored
from registry.entry import Entry, state_key
from registry.errors import MalformedError, NewerLogError, UnknownValueError
from registry.kinds import Kind, MemberStatus
from registry.member import Announced, Member
from registry.proof import verify_lookup
from registry.snapshot import SnapshotReader
from registry.wire.v1 import log_pb2
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.table import DictTable
from secondary.view import BulkView, View
from tests.support.log_builder import LogBuilder
from tests.support.newer import (
    EXTENDED,
    KNOWN_CONTACT,
    NEW_CONTACT_FIELD,
    NEW_HOLDER,
    NEW_KIND,
    NEW_STATUS,
    STOPPING,
    Newer,
    put_ignored,
    put_more_ignored,
    unknown_status,
)
from tests.support.replicas import cursor_of, trust_in

STOPS = [pytest.param(newer, said, id=newer.__name__) for newer, said in STOPPING.items()]


def newer_log(*newer: Newer) -> LogBuilder:
    """A holder and a registration, and then what is newer, each in a batch of its own."""
    log = LogBuilder()
    log.put_holder()
    log.put_registration("192.0.2.1")
    log.commit()
    for each in newer:
        each(log)
        log.commit()
    return log


def encoded(log: LogBuilder) -> list[tuple[bytes, bytes, bytes]]:
    """State key, payload and stored bytes of every record."""
    return [
        (key, Entry.decode(record.entry).payload, Record(record.index, record.entry).encode())
        for key, record in log.records.items()
    ]


def test_what_need_not_be_understood_is_counted_and_hashed() -> None:
    """Unknown kinds and fields lead to the state root that was signed, batch after batch, and
    stand in snapshots and proofs in their own bytes."""
    log = newer_log(put_ignored, put_more_ignored)
    replay = log.replayed()
    assert (log.size, log.root) == (replay.size, replay.root)
    read = list(SnapshotReader([log.snapshot()]))
    assert {record.state_key for record in read} == set(log.records)
    assert [record.record() for record in read] == [log.records[one.state_key] for one in read]
    for key, record in log.records.items():
        assert record == verify_lookup(log.lookup(key), log.verifier, key).record


@pytest.mark.parametrize(("newer", "said"), STOPS)
def test_what_must_be_understood_is_not_gone_past(newer: Newer, said: str) -> None:
    """A batch, a snapshot and a proof with it are refused, with what to do; all before it holds."""
    log = newer_log()
    replay = log.replayed()
    size = replay.size
    newer(log)
    with pytest.raises(NewerLogError, match=f"{said}.*update this software"):
        replay.verify(log.commit())
    assert size == replay.size
    with pytest.raises(NewerLogError, match=said):
        list(SnapshotReader([log.snapshot()]))
    (key,) = log.records.keys() - newer_log().records.keys()
    with pytest.raises(NewerLogError, match=said):
        verify_lookup(log.lookup(key), log.verifier, key)


def test_an_operation_that_nobody_knows_stops() -> None:
    """What an entry does to its key has to be understood, of whatever kind it is."""
    log = newer_log()
    replay = log.replayed()
    entry = log_pb2.Entry(
        kind=log_pb2.Kind.ValueType(NEW_KIND),
        key=b"k",
        operation=log_pb2.Operation.ValueType(9),
    )
    closing = log.batch().entries[-1]
    with pytest.raises(NewerLogError, match="number 9"):
        replay.verify(log.seal([LoggedEntry(entry.SerializeToString()), closing]))


@pytest.mark.parametrize(("newer", "said"), STOPS)
def test_a_stored_record_that_must_be_understood_is_refused(newer: Newer, said: str) -> None:
    """A replica that a newer version has written is not served by this one."""
    log = newer_log(put_ignored)
    before = encoded(log)
    for each in before:
        check_stored(*each)
    newer(log)
    log.commit()
    (newest,) = [each for each in encoded(log) if each not in before]
    with pytest.raises(NewerLogError, match=said):
        check_stored(*newest)


@pytest.mark.parametrize("make", [DictTable, CompiledTable, Directory])
def test_no_table_takes_a_status_that_nobody_knows(make: type[View]) -> None:
    """Neither listed nor unlisted: DNS and WHOIS say nothing rather than something wrong."""
    before = encoded(newer_log())
    (strange,) = [each for each in encoded(newer_log(unknown_status)) if each not in before]
    with pytest.raises(UnknownValueError, match=f"status {NEW_STATUS}"):
        make().put(*strange)


@pytest.mark.parametrize(("newer", "said"), STOPS)
def test_a_bulk_load_refuses_what_must_be_understood(newer: Newer, said: str) -> None:
    """The compiled table looks at every record as it is loaded."""
    log = newer_log(put_ignored, newer)
    table = CompiledTable()
    assert isinstance(table, BulkView)
    with pytest.raises(NewerLogError, match=said):
        table.bulk_load().take([record for _, _, record in encoded(log)])


def test_tables_pass_over_what_need_not_be_understood() -> None:
    """A registration with a new field is listed as any other; new kinds have no name."""
    log = newer_log(put_ignored, put_more_ignored)
    loaded, filled = CompiledTable(), DictTable()
    loaded.bulk_load().take([record for _, _, record in encoded(log)])
    for key, payload, record in encoded(log):
        filled.put(key, payload, record)
    for table in (loaded, filled):
        table.advance(trust_in(log).open(cursor_of(log)))
        assert len(table) == 2
        found = table.find(Address.parse(EXTENDED))
        assert found is not None
        assert found.host == "mail.example.org"


def test_a_member_of_a_new_status_stands_where_its_places_say() -> None:
    """Who looks mirrors up need not know the word for how one stands."""
    announced = Announced("Example", "zrh", (Address.parse("192.0.2.53"),))
    member = Member(announced, MemberStatus.ADMITTED, ("a",))
    message = log_pb2.Member.FromString(member.encode())
    message.status = log_pb2.MemberStatus.ValueType(NEW_STATUS)
    found = Member.decode(message.SerializeToString())
    assert (NEW_STATUS, ("a",)) == (found.status, found.places)
    assert message.SerializeToString() == found.encode()
    message.status = log_pb2.MemberStatus.ValueType(0)
    with pytest.raises(MalformedError):
        Member.decode(message.SerializeToString())


def test_a_contact_field_that_nobody_knows_is_not_shown() -> None:
    """WHOIS and RDAP say of a holder what they have words for, be all of its contact public."""
    log = newer_log(put_ignored)
    directory = Directory()
    for key, payload, record in encoded(log):
        directory.put(key, payload, record)
    key = state_key(Kind.HOLDER, NEW_HOLDER)
    directory.put_openings(key, log.records[key].encode())
    holder = directory.find_holder(NEW_HOLDER)
    assert holder is not None
    assert [*KNOWN_CONTACT, NEW_CONTACT_FIELD] == [each.field for each in holder.holder.commitments]
    assert dict(KNOWN_CONTACT) == {each.field: each.value for each in holder.contact}
