"""The sequencer on SQLite: what it commits, what it refuses, and in which batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primary.changes import Change, WithdrawHolder
from primary.checkpoint_file import CheckpointFile
from primary.rules import Policy
from primary.sequencer import MAX_BATCHES_PER_COMMIT, MAX_CHANGES_PER_COMMIT
from registry.checkpoint import open_checkpoint
from registry.entry import Entry
from registry.errors import Problem
from registry.kinds import Status
from registry.limits import MAX_CHANGES_PER_BATCH
from tests.support.sequencing import EMAIL, OTHER_EMAIL, Log, Person, addresses, new_log

ME, OTHER = Person("me"), Person("other")


def test_an_empty_log_begins_with_a_state_entry(log: Log) -> None:
    """So there is always a checkpoint, and no record has version 0."""
    head = log.sequencer.head
    assert (1, 0) == (head.size, head.state.live_keys)
    assert 1 == open_checkpoint(head.checkpoint, log.signer.verifier()).size
    log.catch_up()


def test_a_receipt_names_an_entry_that_its_checkpoint_covers(log: Log) -> None:
    """The index is the record's version, the checkpoint is signed and on disk (P1)."""
    (version,) = log.versions(ME.create())
    checkpoint = open_checkpoint(log.sequencer.head.checkpoint, log.signer.verifier())
    assert version < checkpoint.size
    assert log.sequencer.head.checkpoint == CheckpointFile(log.checkpoint_path).read()
    assert checkpoint.root == log.store.reader.root_at(checkpoint.size)


def test_changes_of_one_batch_see_each_other(log: Log) -> None:
    """A holder may be created and used at once; the second of two claims is refused."""
    codes = log.codes(
        ME.create(),
        ME.register("198.18.0.1"),
        OTHER.create(),
        OTHER.register("198.18.0.1"),
        ME.withdraw("198.18.0.1"),
        OTHER.register("198.18.0.1"),
    )
    assert ["", "", "", "exists", "", ""] == codes
    found = log.registered("198.18.0.1")
    assert found is not None
    assert (OTHER.holder_id, Status.NEW) == (found.holder_id, found.status)


def test_sixty_updates_of_one_key_are_sixty_entries_and_one_record(log: Log) -> None:
    """Each has a version of its own; only the last one is current."""
    log.versions(ME.create(), ME.register("198.18.0.1"))
    size = log.sequencer.head.size
    hosts = [f"mail{n}.example.org" for n in range(MAX_CHANGES_PER_BATCH)]
    versions = log.versions(*(ME.update("198.18.0.1", host) for host in hosts))
    assert list(range(size, size + MAX_CHANGES_PER_BATCH)) == versions
    found = log.registered("198.18.0.1")
    assert found is not None
    assert hosts[-1] == found.host
    assert 2 == log.sequencer.head.state.live_keys


def test_many_changes_make_several_batches(log: Log) -> None:
    """Each within the protocol's limit, and each with a checkpoint of its own."""
    log.versions(ME.create())
    changes = [ME.register(address) for address in addresses(MAX_CHANGES_PER_COMMIT)]
    committed = log.sequencer.commit(changes)
    batches = [part.batch for part in committed if part.batch]
    assert [MAX_CHANGES_PER_BATCH + 1] * MAX_BATCHES_PER_COMMIT == [
        len(batch.entries) for batch in batches
    ]
    assert [part.head.size for part in committed] == [batch.size for batch in batches]
    assert MAX_CHANGES_PER_COMMIT == sum(len(part.outcomes) for part in committed)
    log.catch_up()
    assert MAX_CHANGES_PER_COMMIT == log.store.reader.statistics().registrations
    with pytest.raises(ValueError, match="changes"):
        log.sequencer.commit([*changes, ME.register("198.19.0.1")])


def test_what_is_streamed_now_is_what_is_streamed_later(log: Log) -> None:
    """A batch read from the database is byte for byte the one that was committed."""
    log.versions(ME.create(), ME.register("198.18.0.1"))
    log.versions(ME.update("198.18.0.1", "mx.example.org"))
    stored = log.store.reader.batches_from(1, 10)
    assert [batch.encode() for batch in log.batches] == [
        batch.sign(log.signer).encode() for batch in stored
    ]


def test_a_change_that_changes_nothing_makes_no_entry(log: Log) -> None:
    """The present version is the answer."""
    create, register = log.versions(ME.create(), ME.register("198.18.0.1"))
    size = log.sequencer.head.size
    again = log.versions(ME.create(), ME.register("198.18.0.1"), ME.update("198.18.0.1", ME.host))
    assert [create, register, register] == again
    assert size == log.sequencer.head.size


def test_a_refused_change_leaves_no_trace(log: Log) -> None:
    """No entry, no batch, the same head."""
    before = log.sequencer.head
    (committed,) = log.sequencer.commit([ME.register("198.18.0.1")])
    (problem,) = committed.outcomes
    assert isinstance(problem, Problem)
    assert ("not_found", None, before) == (problem.code, committed.batch, committed.head)


def test_special_addresses_are_for_laboratories(tmp_path: Path) -> None:
    """Elsewhere nobody can register an address that cannot be public."""
    log = Log(tmp_path, policy=Policy(lab=False))
    log.store.migrate()
    log.open()
    codes = log.codes(ME.create(), ME.register("198.18.0.1"), ME.register("9.9.9.9"))
    log.close()
    assert ["", "address_special", ""] == codes


def test_time_in_the_log_never_runs_back(log: Log) -> None:
    """Whatever the clock does."""
    log.versions(ME.create())
    before = log.sequencer.head.committed_ms
    log.now_ms -= 60_000
    log.versions(ME.register("198.18.0.1"))
    assert before == log.sequencer.head.committed_ms


_PEOPLE = st.sampled_from([ME, OTHER])
_ADDRESSES = st.sampled_from(addresses(3))
_HOSTS = st.sampled_from(["a.example.org", "b.example.org"])
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Person.create, _PEOPLE),
    st.builds(Person.update_contact, _PEOPLE, st.sampled_from([EMAIL, OTHER_EMAIL])),
    st.builds(lambda person: WithdrawHolder(person.holder_id, person.key), _PEOPLE),
    st.builds(Person.register, _PEOPLE, _ADDRESSES, _HOSTS),
    st.builds(Person.update, _PEOPLE, _ADDRESSES, _HOSTS),
    st.builds(Person.withdraw, _PEOPLE, _ADDRESSES),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(_CHANGES, min_size=1, max_size=12), max_size=5))
def test_how_changes_are_cut_into_batches_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Change]]
) -> None:
    """Together or one by one, the outcomes are alike, the records agree, and a replay holds."""
    together, alone = (new_log(tmp_path_factory.mktemp("log")) for _ in range(2))
    for group in groups:
        one_by_one = [code for change in group for code in alone.codes(change)]
        assert one_by_one == together.codes(*group)
    assert _contents(alone) == _contents(together)
    statistics = together.store.reader.statistics()
    assert statistics.holders + statistics.registrations == (
        together.sequencer.head.state.live_keys
    )
    alone.close()
    together.reopen()
    together.close()


def _contents(log: Log) -> list[tuple[Any, ...]]:
    """Everything that does not depend on where in the log it stands."""
    payloads: Callable[[bytes], bytes] = lambda entry: Entry.decode(entry).payload  # noqa: E731
    with closing(log.connect()) as connection:
        registrations = connection.execute(
            "SELECT state_key, holder_id, entry FROM records NATURAL JOIN entries"
            " WHERE holder_id IS NOT NULL ORDER BY state_key"
        ).fetchall()
        return [
            *((key, holder, payloads(entry)) for key, holder, entry in registrations),
            *connection.execute("SELECT * FROM accounts ORDER BY holder_id"),
            *connection.execute(
                "SELECT holder_id, field, value, public FROM contacts ORDER BY holder_id, field"
            ),
        ]
