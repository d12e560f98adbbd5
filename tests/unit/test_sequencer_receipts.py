"""Idempotency: a change that is repeated under its key gets the receipt of the first time."""

from __future__ import annotations

from contextlib import closing

from primary.sequencer import PRUNE_PAUSE_MS, PRUNE_STEP, RECEIPT_MS
from tests.support.sequencing import Log, Person, addresses

ME = Person("me")


def test_the_same_change_under_one_key_is_made_once(log: Log) -> None:
    """In one batch, later, and after a restart: the same receipt, and no entry more."""
    create = ME.create(idempotency_key=bytes(16))
    first, again = log.versions(create, create)
    size = log.sequencer.head.size
    (later,) = log.versions(create)
    log.reopen()
    (after_restart,) = log.versions(create)
    assert first == again == later == after_restart
    assert size == log.sequencer.head.size


def test_a_receipt_outlives_later_changes(log: Log) -> None:
    """A repeated update gives the old receipt; it does not undo what came after it."""
    key = bytes(range(16))
    log.versions(ME.create())
    (registered,) = log.versions(ME.register("198.18.0.1", "a.example.org", idempotency_key=key))
    log.versions(ME.update("198.18.0.1", "b.example.org"))
    assert [registered] == log.versions(
        ME.register("198.18.0.1", "a.example.org", idempotency_key=key)
    )


def test_a_receipt_is_kept_for_a_change_that_changed_nothing(log: Log) -> None:
    """Its repetition gives the same version, though the record has moved on."""
    key = bytes(range(16))
    log.versions(ME.create())
    (version,) = log.versions(ME.register("198.18.0.1"))
    unchanged = ME.register("198.18.0.1", idempotency_key=key)
    size = log.sequencer.head.size
    assert [version] == log.versions(unchanged)
    assert size == log.sequencer.head.size
    log.versions(ME.update("198.18.0.1", "b.example.org"))
    assert [version] == log.versions(unchanged)


def test_an_idempotency_key_is_for_one_change(log: Log) -> None:
    """Another change under the same key is refused, in the same batch or later."""
    key = bytes(16)
    one = ME.register("198.18.0.1", idempotency_key=key)
    two = ME.register("198.18.0.2", idempotency_key=key)
    assert ["", "", "idempotency"] == log.codes(ME.create(), one, two)
    assert ["idempotency"] == log.codes(two)


def test_receipts_are_forgotten_after_a_day(log: Log) -> None:
    """In bounded steps, as commits go on."""
    log.versions(ME.create())
    count = PRUNE_STEP + 10
    names = addresses(count)
    log.versions(
        *(
            ME.register(address, idempotency_key=number.to_bytes(16))
            for number, address in enumerate(names)
        )
    )
    kept = []
    for step_ms in (RECEIPT_MS, 1, PRUNE_PAUSE_MS, PRUNE_PAUSE_MS):
        log.now_ms += step_ms
        log.commit(ME.register("198.18.0.0"))
        with closing(log.connect()) as connection:
            kept += connection.execute("SELECT count(*) FROM receipts").fetchone()
    assert [count, count, 10, 0] == kept
