"""How registrations stand, with a real database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from primary.desk.book import Book
from primary.registering.judging import Subject
from primary.registering.schedule import TRIAL_PROOFS, Trial
from primary.registering.standing import Standing
from primary.store.store import Store
from registry.address import Address
from registry.limits import HOLDER_ID_BYTES

LAST_MS, PERIOD_MS = 1_000_000, 1000


def standing(number: int, look_ms: int, proofs: int = TRIAL_PROOFS) -> Standing:
    address, holder_id = Address(number.to_bytes(4)), bytes(HOLDER_ID_BYTES)
    subject = Subject(holder_id, address, "mail.example.org", "example.org")
    return Standing(subject, "token", Trial(0, proofs, 0, look_ms), 0)


def test_looks_are_brought_forward_in_parts(tmp_path: Path) -> None:
    """So many at once until none is late, each to a moment of the last period; who is due earlier,
    or on trial, is left as it is."""
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with closing(Store(url)) as store:
        store.migrate()
    with closing(Book(url)) as book:
        late = [standing(number, LAST_MS + 1 + number * 333) for number in range(5)]
        others = [standing(8, LAST_MS), standing(9, LAST_MS + 1, TRIAL_PROOFS - 1)]
        for each in [*late, *others]:
            book.standings.put(each)
        brought = [book.standings.bring_forward(LAST_MS, PERIOD_MS, 2) for _ in range(4)]
        due = book.standings.due(1 << 40, 9)
    found = {each.subject.address: each.trial.look_ms for each in due}
    assert [2, 2, 1, 0] == brought
    moved = [found[each.subject.address] for each in late]
    assert all(LAST_MS - PERIOD_MS < at <= LAST_MS for at in moved)
    assert len(set(moved)) > 1
    assert all(found[each.subject.address] == each.trial.look_ms for each in others)
