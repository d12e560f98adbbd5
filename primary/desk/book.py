"""What waits: applications, standings and letters, in the primary's database and not in its log.

All methods are for one thread at a time, and raise StoreUnavailableError when the database refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, delete, func, insert, or_, select, update

from primary.registering.application import (
    Application,
    Purpose,
    decode_contact,
    encode_contact,
)
from primary.registering.judging import Subject
from primary.registering.letters import Letter
from primary.registering.quotas import Range
from primary.registering.schedule import Trial
from primary.registering.standing import Standing
from primary.store.database import LOCK_SECONDS, SQLITE, Database
from primary.store.errors import StoreUnavailableError
from primary.store.reader import Reader
from primary.store.schema import accounts, applications, contacts, letters, standings
from registry.address import Address
from registry.contact import ContactValue
from registry.entry import Entry
from registry.kinds import ContactField, Kind
from registry.registration import Registration

# How many applications are forgotten in one transaction.
_EXPIRE_STEP: Final = 500


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A letter in the book, and how often it was tried."""

    letter_id: int
    letter: Letter
    created_ms: int
    attempts: int


class Book:
    """The book of one registry, over connections of its own."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._reader = Reader(self._database)
        self._scrub_due = False

    def close(self) -> None:
        """Gives the connections back."""
        self._database.close()

    # --- what the register has -------------------------------------------------------

    def key_hash(self, holder_id: bytes) -> bytes | None:
        """The hash of a live holder's management key."""
        query = select(accounts.c.management_key_hash).where(accounts.c.holder_id == holder_id)
        with self._database.reading() as connection:
            found: bytes | None = connection.scalar(query)
        return found

    def contact(self, holder_id: bytes) -> tuple[ContactValue, ...]:
        """The whole contact of a live holder, what is private included."""
        query = select(contacts.c.field, contacts.c.value, contacts.c.public)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(contacts.c.holder_id == holder_id)).all()
        return tuple(ContactValue(ContactField(row[0]), row[1], row[2]) for row in rows)

    def email(self, holder_id: bytes) -> str:
        """Where a live holder is reached; empty if there is no such holder."""
        query = select(contacts.c.value).where(
            contacts.c.holder_id == holder_id, contacts.c.field == int(ContactField.EMAIL)
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or ""

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        """The version and record of a live registration."""
        record = self._reader.get(Kind.REGISTRATION, address.packed)
        if record is None:
            return None
        return record.index, Registration.decode(Entry.decode(record.entry).payload)

    def has_domain(self, holder_id: bytes, domain: str) -> bool:
        """Whether the holder has a mail server of this domain."""
        after = None
        while records := self._reader.list_registrations(after, _EXPIRE_STEP, holder_id):
            for record in records:
                entry = Entry.decode(record.entry)
                if Registration.decode(entry.payload).domain == domain:
                    return True
                after = entry.key
        return False

    # --- applications ----------------------------------------------------------------

    def application(self, application_id: bytes) -> Application | None:
        """An application by its identifier."""
        return self._application(applications.c.application_id == application_id)

    def find(
        self, holder_id: bytes, purpose: Purpose, address: Address | None, domain: str
    ) -> Application | None:
        """The application of a holder for the same thing."""
        return self._application(
            applications.c.holder_id == holder_id,
            applications.c.purpose == int(purpose),
            applications.c.address == (address.packed if address else b""),
            or_(applications.c.domain == domain, applications.c.purpose == int(Purpose.REGISTER)),
        )

    def is_applied_for(self, holder_id: bytes, key_hash: bytes, now_ms: int) -> bool:
        """Whether somebody with another key applies to become this holder."""
        others = _counting(
            applications,
            _REGISTERING,
            applications.c.holder_id == holder_id,
            applications.c.key_hash != key_hash,
            applications.c.expires_ms > now_ms,
        )
        return self._count(others) > 0

    def keep(self, application: Application, letter: Letter | None) -> None:
        """Keeps an application, in the place of an earlier one, with a letter that it needs."""
        with self._writing() as connection:
            _forget(connection, application.application_id)
            connection.execute(insert(applications), _application_row(application))
            if letter is not None:
                _queue(connection, letter, application.created_ms)

    def forget(self, application_id: bytes) -> None:
        """An application is no more."""
        with self._writing(erases=True) as connection:
            _forget(connection, application_id)

    def expire(self, now_ms: int) -> int:
        """Forgets what expired; how many applications."""
        late = (
            select(applications.c.application_id)
            .where(applications.c.expires_ms <= now_ms)
            .limit(_EXPIRE_STEP)
        )
        with self._database.reading() as connection:
            ids = list(connection.scalars(late))
        if ids:
            with self._writing(erases=True) as connection:
                connection.execute(
                    delete(applications).where(applications.c.application_id.in_(ids))
                )
        return len(ids)

    def confirm_email(self, token_hash: bytes, now_ms: int) -> Application | None:
        """The application whose letter had this token; confirmed from now on."""
        application = self._application(
            applications.c.email_token_hash == token_hash, applications.c.expires_ms > now_ms
        )
        if application is not None and not application.email_confirmed_ms:
            same = applications.c.application_id == application.application_id
            with self._writing() as connection:
                connection.execute(
                    update(applications).where(same).values(email_confirmed_ms=now_ms)
                )
        return application

    def prove_address(self, token: str, address: Address, now_ms: int) -> bool:
        """A connection from the address bore the token; False if nothing waits for that."""
        with self._writing() as connection:
            changed = 0
            for table in (applications, standings):
                proved = update(table).values(address_proved_ms=now_ms)
                same = (table.c.address_token == token, table.c.address == address.packed)
                changed += connection.execute(proved.where(*same)).rowcount
        return changed > 0

    # --- standings -------------------------------------------------------------------

    def standing(self, address: Address, holder_id: bytes) -> Standing | None:
        """How a registration stands."""
        query = select(standings).where(*_same_standing(address, holder_id))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return _standing(row) if row else None

    def put_standing(
        self, standing: Standing, letter: Letter | None = None, now_ms: int = 0
    ) -> None:
        """Keeps how a registration stands, with a letter that tells of it.

        A connection that came meanwhile is not lost.
        """
        same = _same_standing(standing.subject.address, standing.subject.holder_id)
        with self._writing() as connection:
            proved_ms = connection.scalar(select(standings.c.address_proved_ms).where(*same)) or 0
            if proved_ms > standing.address_proved_ms:
                standing = replace(standing, address_proved_ms=proved_ms)
            connection.execute(delete(standings).where(*same))
            connection.execute(insert(standings), _standing_row(standing))
            if letter is not None:
                _queue(connection, letter, now_ms)

    def end_standing(self, address: Address, holder_id: bytes) -> None:
        """The registration is not this holder's any more."""
        with self._writing() as connection:
            connection.execute(delete(standings).where(*_same_standing(address, holder_id)))

    def due_standings(self, now_ms: int, limit: int) -> list[Standing]:
        """Those to be looked at, whoever waits for longest first."""
        query = (
            select(standings)
            .where(standings.c.look_ms <= now_ms)
            .order_by(standings.c.look_ms)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_standing(row) for row in connection.execute(query)]

    def lapses(self, since_ms: int) -> tuple[int, int]:
        """How many lapsed since then, and how many registrations there are."""
        lapsed = self._count(_counting(standings, standings.c.lapsed_ms > since_ms))
        return lapsed, self._reader.statistics().registrations

    # --- quotas ----------------------------------------------------------------------

    def count_domain(self, domain: str) -> int:
        """Registrations and applications of a domain."""
        return self._count(
            _counting(standings, standings.c.domain == domain),
            _counting(applications, _REGISTERING, applications.c.domain == domain),
        )

    def count_email(self, email: str) -> int:
        """Registrations of the holders with this mailbox, and applications."""
        holders = select(contacts.c.holder_id).where(
            contacts.c.field == int(ContactField.EMAIL), contacts.c.value == email
        )
        return self._count(
            _counting(standings, standings.c.holder_id.in_(holders)),
            _counting(applications, applications.c.email == email),
        )

    def count_unconfirmed(self, email: str) -> int:
        """Applications whose letter to this mailbox was not answered."""
        unanswered = applications.c.email_confirmed_ms == 0
        return self._count(_counting(applications, applications.c.email == email, unanswered))

    def count_network(self, network: Range) -> int:
        """Registrations and applications of a network."""
        return self._count(
            *(
                _counting(
                    table,
                    table.c.address.between(network.first.packed, network.last.packed),
                    func.length(table.c.address) == len(network.first.packed),
                )
                for table in (standings, applications)
            )
        )

    # --- letters ---------------------------------------------------------------------

    def queue(self, letter: Letter, now_ms: int) -> None:
        """Keeps a letter until it is sent."""
        with self._writing() as connection:
            _queue(connection, letter, now_ms)

    def due_letters(self, now_ms: int, limit: int) -> list[WaitingLetter]:
        """Letters to be sent now, the oldest first."""
        query = select(letters).where(letters.c.due_ms <= now_ms).order_by(letters.c.letter_id)
        with self._database.reading() as connection:
            return [
                WaitingLetter(
                    row.letter_id,
                    Letter(row.recipient, row.subject, row.body),
                    row.created_ms,
                    row.attempts,
                )
                for row in connection.execute(query.limit(limit))
            ]

    def forget_letter(self, letter_id: int) -> None:
        """The letter was sent, or given up."""
        with self._writing(erases=True) as connection:
            connection.execute(delete(letters).where(letters.c.letter_id == letter_id))

    def postpone_letter(self, letter_id: int, due_ms: int) -> None:
        """The letter was tried, and is tried again then."""
        changed = update(letters).where(letters.c.letter_id == letter_id)
        with self._writing() as connection:
            connection.execute(changed.values(due_ms=due_ms, attempts=letters.c.attempts + 1))

    def _application(self, *conditions: Any) -> Application | None:
        with self._database.reading() as connection:
            row = connection.execute(select(applications).where(*conditions)).first()
        return _application(row) if row else None

    def _count(self, *queries: Select[Any]) -> int:
        with self._database.reading() as connection:
            return sum(connection.scalar(query) or 0 for query in queries)

    @contextmanager
    def _writing(self, *, erases: bool = False) -> Iterator[Connection]:
        with self._database.writing() as connection:
            yield connection
        self._scrub_due |= erases and self._database.kind == SQLITE
        if self._scrub_due:
            self._scrub()

    def _scrub(self) -> None:
        """Takes what was erased out of the WAL too, which would keep it until overwritten (P6).

        While somebody reads or writes it has to wait, for the next that is written.
        """
        refused = (StoreUnavailableError, self._database.driver_error)
        with suppress(*refused), closing(self._database.connect_writer()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 0")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, *_ = cursor.fetchone() or (1,)
            cursor.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
            self._scrub_due = bool(busy)


_REGISTERING: Final = applications.c.purpose == int(Purpose.REGISTER)


def _counting(table: Table, *conditions: Any) -> Select[Any]:
    return select(func.count()).select_from(table).where(*conditions)


def _same_standing(address: Address, holder_id: bytes) -> tuple[Any, ...]:
    return standings.c.address == address.packed, standings.c.holder_id == holder_id


def _forget(connection: Connection, application_id: bytes) -> None:
    same = applications.c.application_id == application_id
    connection.execute(delete(applications).where(same))


def _queue(connection: Connection, letter: Letter, now_ms: int) -> None:
    row = {
        "recipient": letter.recipient,
        "subject": letter.subject,
        "body": letter.body,
        "created_ms": now_ms,
        "attempts": 0,
        "due_ms": now_ms,
    }
    connection.execute(insert(letters), row)


def _application_row(application: Application) -> dict[str, object]:
    return {
        "application_id": application.application_id,
        "purpose": int(application.purpose),
        "holder_id": application.holder_id,
        "key_hash": application.key_hash,
        "address": application.address.packed if application.address else b"",
        "host": application.host,
        "domain": application.domain,
        "contact": encode_contact(application.contact),
        "email": application.email,
        "address_token": application.address_token,
        "email_token_hash": application.email_token_hash,
        "created_ms": application.created_ms,
        "expires_ms": application.expires_ms,
        "email_confirmed_ms": application.email_confirmed_ms,
        "address_proved_ms": application.address_proved_ms,
    }


def _application(row: Any) -> Application:
    return Application(
        row.application_id,
        Purpose(row.purpose),
        row.holder_id,
        row.key_hash,
        Address(row.address) if row.address else None,
        row.host,
        row.domain,
        decode_contact(row.contact),
        row.email,
        row.address_token,
        row.email_token_hash,
        row.created_ms,
        row.expires_ms,
        row.email_confirmed_ms,
        row.address_proved_ms,
    )


def _standing_row(standing: Standing) -> dict[str, object]:
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
        "address_proved_ms": standing.address_proved_ms,
        "failed_days": standing.failed_days,
        "failed_day": standing.failed_day,
        "lapsed_ms": standing.lapsed_ms,
    }


def _standing(row: Any) -> Standing:
    return Standing(
        Subject(row.holder_id, Address(row.address), row.host, row.domain),
        row.address_token,
        Trial(row.started_ms, row.proofs, row.due_ms, row.look_ms),
        row.address_proved_ms,
        row.failed_days,
        row.failed_day,
        row.lapsed_ms,
    )
