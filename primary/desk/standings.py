"""How registrations stand, in the book: when each is looked at next, and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, func, insert, select, tuple_, update

from primary.desk.book_file import BookFile
from primary.desk.letters import queue_letter
from primary.registering.judging import Subject
from primary.registering.letters import Letter
from primary.registering.owners import registrable_domain
from primary.registering.reviewing import DAYS_TO_LAPSE
from primary.registering.schedule import MISSES_TO_LAPSE, TRIAL_PROOFS, Trial
from primary.registering.standing import Standing
from primary.store.schema import records, standings
from registry.address import Address
from registry.entry import state_key
from registry.kinds import Kind

# What a look at an active registration changes; what is counted as one does with the list of
# suffixes, as a newer version of the package brings it.
_REVIEWED: Final = (
    *("look_ms", "failed_days", "failed_day", "lapsed_ms", "verified_ms"),
    "registrable",
)


class Standings:
    """Of every registration that was admitted by proofs, or adopted since."""

    def __init__(self, file: BookFile) -> None:
        self._file = file

    def get(self, address: Address, holder_id: bytes) -> Standing | None:
        """How a registration stands."""
        query = select(standings).where(*_same_standing(address, holder_id))
        with self._file.reading() as connection:
            row = connection.execute(query).one_or_none()
        return _standing(row) if row else None

    def put(self, standing: Standing, letter: Letter | None = None, now_ms: int = 0) -> None:
        """Keeps how a registration stands, with a letter that tells of it.

        A connection that came meanwhile is not lost.
        """
        same = _same_standing(standing.subject.address, standing.subject.holder_id)
        with self._file.writing() as connection:
            proved_ms = connection.scalar(select(standings.c.address_proved_ms).where(*same)) or 0
            if proved_ms > standing.address_proved_ms:
                standing = replace(standing, address_proved_ms=proved_ms)
            connection.execute(delete(standings).where(*same))
            connection.execute(insert(standings), standing_row(standing))
            if letter is not None:
                queue_letter(connection, letter, now_ms)

    def watched(self, after: Address | None, limit: int) -> list[tuple[Address, bool]]:
        """The next registrations by address, and whether anybody looks at each."""
        behind = state_key(Kind.REGISTRATION, after.packed if after else b"")
        page = (
            select(records.c.state_key, records.c.holder_id)
            .where(records.c.holder_id.is_not(None), records.c.state_key > behind)
            .order_by(records.c.state_key)
            .limit(limit)
            .subquery()
        )
        # Behind the kind.
        address = func.substr(page.c.state_key, 2)
        same = (standings.c.address == address, standings.c.holder_id == page.c.holder_id)
        query = select(page.c.state_key, standings.c.holder_id).outerjoin(standings, and_(*same))
        with self._file.reading() as connection:
            found = connection.execute(query.order_by(page.c.state_key)).all()
        return [(Address(key[1:]), holder_id is not None) for key, holder_id in found]

    def adopt(self, adopted: Sequence[Standing]) -> int:
        """Keeps those of registrations that have none; how many."""
        rows = {(row["address"], row["holder_id"]): row for row in map(standing_row, adopted)}
        key = tuple_(standings.c.address, standings.c.holder_id)
        with self._file.writing() as connection:
            for address, holder_id in connection.execute(
                select(standings.c.address, standings.c.holder_id).where(key.in_(list(rows)))
            ):
                del rows[address, holder_id]
            if rows:
                connection.execute(insert(standings), list(rows.values()))
        return len(rows)

    def put_reviewed(self, reviewed: Sequence[Standing]) -> None:
        """Keeps what reviews have seen, of many in one transaction; what is gone stays gone."""
        rows = [
            {
                "of_address": row["address"],
                "of_holder": row["holder_id"],
                **{name: row[name] for name in _REVIEWED},
            }
            for row in map(standing_row, reviewed)
        ]
        same = (
            standings.c.address == bindparam("of_address"),
            standings.c.holder_id == bindparam("of_holder"),
        )
        changed: dict[str, Any] = {name: bindparam(name) for name in _REVIEWED}
        with self._file.writing() as connection:
            connection.execute(update(standings).where(*same).values(changed), rows)

    def end(self, address: Address, holder_id: bytes) -> None:
        """The registration is not this holder's any more."""
        with self._file.writing() as connection:
            connection.execute(delete(standings).where(*_same_standing(address, holder_id)))

    def due(self, now_ms: int, limit: int, after: Standing | None = None) -> list[Standing]:
        """Those to be looked at behind one that was, whoever waits for longest first."""
        key = (standings.c.look_ms, standings.c.address, standings.c.holder_id)
        query = select(standings).where(standings.c.look_ms <= now_ms).order_by(*key).limit(limit)
        if after is not None:
            subject, look_ms = after.subject, after.trial.look_ms
            passed = (look_ms, subject.address.packed, subject.holder_id)
            query = query.where(standings.c.look_ms >= look_ms, tuple_(*key) > passed)
        with self._file.reading() as connection:
            return [_standing(row) for row in connection.execute(query)]

    def bring_forward(self, last_ms: int, period_ms: int, limit: int) -> int:
        """Has those whose trial is over be looked at until then, spread over the period before.

        Of those that are later, about so many, the first of them; how many there were.
        """
        look_ms = standings.c.look_ms
        late = [standings.c.proofs == TRIAL_PROOFS, look_ms > last_ms]
        some = select(look_ms).where(*late).order_by(look_ms).offset(limit - 1).limit(1)
        with self._file.writing() as connection:
            up_to = connection.execute(some).scalar()
            if up_to is not None:
                late.append(look_ms <= up_to)
            changed = update(standings).where(*late).values(look_ms=last_ms - look_ms % period_ms)
            return connection.execute(changed).rowcount

    def addresses_of(self, domain: str, limit: int) -> list[Address]:
        """Up to so many mail servers of a domain."""
        query = select(standings.c.address).where(standings.c.domain == domain).distinct()
        with self._file.reading() as connection:
            return [Address(packed) for packed in connection.scalars(query.limit(limit))]

    def held_back(self) -> int:
        """How many would lapse, and may not."""
        query = (
            select(func.count())
            .select_from(standings)
            .where(
                standings.c.failed_days > 0,
                standings.c.failed_days >= DAYS_TO_LAPSE,
                standings.c.lapsed_ms == 0,
            )
        )
        with self._file.reading() as connection:
            return connection.scalar(query) or 0

    def lapsed_since(self, since_ms: int, *, given_up: bool) -> int:
        """How many lapsed since then: in their first week, not shown again; or the others."""
        is_given_up = standings.c.misses == MISSES_TO_LAPSE
        query = (
            select(func.count())
            .select_from(standings)
            .where(
                # As the index has it.
                standings.c.lapsed_ms > 0,
                standings.c.lapsed_ms > since_ms,
                is_given_up if given_up else ~is_given_up,
            )
        )
        with self._file.reading() as connection:
            return connection.scalar(query) or 0


def _same_standing(address: Address, holder_id: bytes) -> tuple[Any, ...]:
    return standings.c.address == address.packed, standings.c.holder_id == holder_id


def standing_row(standing: Standing) -> dict[str, object]:
    """The row that keeps it."""
    subject, trial = standing.subject, standing.trial
    return {
        "address": subject.address.packed,
        "holder_id": subject.holder_id,
        "host": subject.host,
        "domain": subject.domain,
        "address_token": standing.address_token,
        "started_ms": trial.started_ms,
        "proofs": trial.proofs,
        "due_ms": trial.due_ms,
        "look_ms": trial.look_ms,
        "misses": trial.misses,
        "address_proved_ms": standing.address_proved_ms,
        "failed_days": standing.failed_days,
        "failed_day": standing.failed_day,
        "lapsed_ms": standing.lapsed_ms,
        "verified_ms": standing.verified_ms,
        "registrable": registrable_domain(subject.domain),
    }


def _standing(row: Any) -> Standing:
    return Standing(
        Subject(row.holder_id, Address(row.address), row.host, row.domain),
        row.address_token,
        Trial(row.started_ms, row.proofs, row.due_ms, row.look_ms, row.misses),
        row.address_proved_ms,
        row.failed_days,
        row.failed_day,
        row.lapsed_ms,
        row.verified_ms,
    )
