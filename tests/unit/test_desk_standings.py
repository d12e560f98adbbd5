"""How registrations stand, with a real database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from primary.desk.book import Book
from primary.registering.judging import Subject
from primary.registering.schedule import TRIAL_PROOFS, Trial
from primary.registering.standing import Standing
from primary.store.store import Store
from registry.address import Address
from registry.limits import HOLDER_ID_BYTES

LAST_MS, PERIOD_MS = 1_000_000, 1000


def standing(
    number: int, look_ms: int, proofs: int = TRIAL_PROOFS, domain: str = "example.org"
) -> Standing:
    address, holder_id = Address(number.to_bytes(4)), bytes(HOLDER_ID_BYTES)
    subject = Subject(holder_id, address, f"mail.{domain}", domain)
    return Standing(subject, "token", Trial(0, proofs, 0, look_ms), 0)


@contextmanager
def open_book(directory: Path) -> Iterator[Book]:
    url = f"sqlite:///{directory / 'registry.sqlite3'}"
    with closing(Store(url)) as store:
        store.migrate()
    with closing(Book(url)) as book:
        yield book


def test_registrations_are_counted_by_whose_the_domain_is(tmp_path: Path) -> None:
    """With all below it; below a private suffix, and beside it, are others. The one that changes
    is not counted, and what a review sees of another list of suffixes is kept."""
    domains = ("example.org", "a.b.example.org", "a.github.io", "x.a.github.io", "b.github.io")
    apart = {"example.org": 2, "a.github.io": 2, "b.github.io": 1, "github.io": 0}
    with open_book(tmp_path) as book:
        all_of_them = [standing(number, 0, domain=domain) for number, domain in enumerate(domains)]
        for each in all_of_them:
            book.standings.put(each)
        nobody, first = Address(b"none"), all_of_them[0].subject.address
        assert apart == {domain: book.counts.registrable(domain, nobody) for domain in apart}
        assert book.counts.registrable("example.org", first) == 1
        # As it would be if the list had it otherwise: it is of another domain.
        moved = replace(all_of_them[0].subject, domain="c.github.io")
        book.standings.put_reviewed([replace(all_of_them[0], subject=moved)])
        assert [1, 1] == [
            book.counts.registrable(name, nobody) for name in ("example.org", "c.github.io")
        ]


def test_looks_are_brought_forward_in_parts(tmp_path: Path) -> None:
    """So many at once until none is late, each to a moment of the last period; who is due earlier,
    or on trial, is left as it is."""
    with open_book(tmp_path) as book:
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
