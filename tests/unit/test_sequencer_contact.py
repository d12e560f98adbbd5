"""Contact that is public travels; what is private stays, and what is erased leaves the disk."""

from __future__ import annotations

import pytest

from primary.changes import WithdrawHolder
from registry.contact import ContactValue
from registry.entry import Entry
from registry.holder import Holder
from registry.kinds import Kind
from registry.merkle import CompactRange
from registry.replay import Replay
from registry.state_tree import StateTree
from tests.support.sequencing import (
    CONTACT,
    EMAIL,
    NAME,
    OTHER_EMAIL,
    OTHER_TELEPHONE,
    TELEPHONE,
    Log,
    Person,
    hidden,
)

ME, OTHER = Person("me"), Person("other")


def test_only_the_newest_public_contact_travels(log: Log) -> None:
    """Private values never leave; an opening is gone once a newer entry took its place (P6)."""
    log.versions(ME.create(), ME.update_contact(hidden(EMAIL)))
    first, second, _ = log.batches[-1].entries
    assert () == first.openings
    assert [NAME.value] == [opening.value for opening in second.openings]
    assert TELEPHONE.value.encode() not in log.batches[-1].encode()


@pytest.mark.parametrize("held", [(), (NAME, TELEPHONE)])
def test_a_holder_from_before_contact_had_to_be_whole_goes_on(
    log: Log, held: tuple[ContactValue, ...]
) -> None:
    """Its log opens and replays; it registers, completes its contact, is withdrawn."""
    create = ME.create()
    object.__setattr__(create, "contact", held)
    log.versions(create)
    log.reopen()
    log.versions(ME.register("198.18.0.1"), ME.update_contact(), ME.withdraw("198.18.0.1"))
    record = log.store.reader.get(Kind.HOLDER, ME.holder_id)
    assert record is not None
    assert len(CONTACT) == len(Holder.decode(Entry.decode(record.entry).payload).commitments)
    log.versions(WithdrawHolder(ME.holder_id, ME.key))
    log.reopen()
    log.replay = Replay(log.signer.verifier(), CompactRange.empty(), StateTree(), 0)
    log.catch_up()


def test_an_erased_contact_is_gone_from_the_disk(log: Log) -> None:
    """Neither the database nor its journal holds it any more, public or private (P6)."""
    log.versions(ME.create(), OTHER.create())
    log.versions(
        ME.update_contact(OTHER_EMAIL, OTHER_TELEPHONE),
        WithdrawHolder(OTHER.holder_id, OTHER.key),
    )
    disk = _disk(log)
    assert 1 == disk.count(NAME.value.encode())
    assert EMAIL.value.encode() not in disk
    assert TELEPHONE.value.encode() not in disk


def test_an_erasure_that_a_reader_holds_up_is_made_good(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commits after the reader's end see to it; none of them waits for it."""
    monkeypatch.setattr("primary.store.writer.SCRUB_PAUSE_SECONDS", 0.0)
    log.versions(ME.create())
    with log.store.reader.snapshot():
        log.versions(ME.update_contact(OTHER_EMAIL))
        log.versions(ME.register("198.18.0.1"))
        assert EMAIL.value.encode() in _disk(log)
    log.versions(ME.register("198.18.0.2"))
    assert EMAIL.value.encode() not in _disk(log)


def test_the_database_is_its_owners_only(log: Log) -> None:
    """It holds what is not public, and so does its journal."""
    files = list(log.directory.glob("registry.sqlite3*"))
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert len(files) > 1


def _disk(log: Log) -> bytes:
    return b"".join(path.read_bytes() for path in log.directory.iterdir() if path.is_file())
