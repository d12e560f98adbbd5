"""Applications in the book: what was asked, until it is granted, cancelled or expired."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from primary.desk.book_file import BookFile
from primary.desk.letters import queue_letter
from primary.registering.application import (
    Application,
    Purpose,
    decode_contact,
    encode_contact,
)
from primary.registering.letters import Letter
from primary.registering.owners import canonical_mailbox
from primary.store.schema import applications, standings
from registry.address import Address

# How many applications are forgotten in one transaction.
_EXPIRE_STEP: Final = 500
_FIELDS: Final = tuple(field.name for field in fields(Application))


class Applications:
    """Those that wait."""

    def __init__(self, file: BookFile) -> None:
        self._file = file

    def get(self, application_id: bytes) -> Application | None:
        """An application by its identifier."""
        return self._application(applications.c.application_id == application_id)

    def find(
        self, holder_id: bytes, purpose: Purpose, address: Address | None, domain: str
    ) -> Application | None:
        """The application of a holder for the same thing."""
        return self._application(*_same_matter(holder_id, purpose, address, domain))

    def number(self) -> int:
        """How many wait."""
        with self._file.reading() as connection:
            return connection.scalar(select(func.count()).select_from(applications)) or 0

    def unanswered(self, mailbox: str) -> int:
        """Letters to this mailbox, in its canonical spelling, that were not answered."""
        query = select(func.count()).select_from(applications)
        waiting = query.where(
            applications.c.mailbox == mailbox,
            applications.c.email_token_hash != b"",
            applications.c.email_confirmed_ms == 0,
        )
        with self._file.reading() as connection:
            return connection.scalar(waiting) or 0

    def keep(self, application: Application, *, erases: bool) -> None:
        """Keeps an application, in the place of the holder's earlier one for the same thing.

        `erases`: there is one.
        """
        with self._file.writing(erases=erases) as connection:
            connection.execute(delete(applications).where(*_same(application)))
            connection.execute(insert(applications), _application_row(application))

    def send_letter(self, application: Application, letter: Letter, now_ms: int) -> bool:
        """Keeps the letter that bears the token; False if one is sent, or nothing waits for it."""
        unsent = update(applications).where(
            applications.c.application_id == application.application_id,
            applications.c.email_token_hash == b"",
        )
        with self._file.writing() as connection:
            changed = unsent.values(email_token_hash=application.email_token_hash)
            if not connection.execute(changed).rowcount:
                return False
            queue_letter(connection, letter, now_ms)
        return True

    def forget(self, application_id: bytes) -> None:
        """An application is no more."""
        with self._file.writing(erases=True) as connection:
            _forget(connection, application_id)

    def expire(self, now_ms: int) -> int:
        """Forgets what expired; how many applications."""
        return self._forget_some(applications.c.expires_ms <= now_ms)

    def forget_unshown(self, before_ms: int) -> int:
        """Forgets the oldest from before then whose address nobody showed, and that had no letter.

        How many: a part of those that there are.
        """
        return self._forget_some(
            applications.c.created_ms < before_ms,
            applications.c.address_proved_ms == 0,
            applications.c.email_token_hash == b"",
            applications.c.email_confirmed_ms == 0,
        )

    def _forget_some(self, *conditions: Any) -> int:
        """Whoever expires first; how many."""
        query = select(applications.c.application_id).where(*conditions)
        some = query.order_by(applications.c.expires_ms).limit(_EXPIRE_STEP)
        with self._file.reading() as connection:
            ids = list(connection.scalars(some))
        if ids:
            with self._file.writing(erases=True) as connection:
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
            with self._file.writing() as connection:
                connection.execute(
                    update(applications).where(same).values(email_confirmed_ms=now_ms)
                )
        return application

    def waiting_for(self, token: str) -> Application | None:
        """The application whose address is shown by this token."""
        return self._application(applications.c.address_token == token)

    def prove_address(self, token: str, address: Address, now_ms: int) -> bool:
        """A connection from the address bore the token; False if nothing waits for that."""
        with self._file.writing() as connection:
            changed = 0
            for table in (applications, standings):
                proved = update(table).values(address_proved_ms=now_ms)
                same = (table.c.address_token == token, table.c.address == address.packed)
                changed += connection.execute(proved.where(*same)).rowcount
        return changed > 0

    def _application(self, *conditions: Any) -> Application | None:
        with self._file.reading() as connection:
            row = connection.execute(select(applications).where(*conditions)).first()
        return _application(row) if row else None


def _same(application: Application) -> tuple[Any, ...]:
    return _same_matter(
        application.holder_id, application.purpose, application.address, application.domain
    )


def _same_matter(
    holder_id: bytes, purpose: Purpose, address: Address | None, domain: str
) -> tuple[Any, ...]:
    """Of a registration the domain may change; of a recovery it is the matter."""
    return (
        applications.c.holder_id == holder_id,
        applications.c.purpose == int(purpose),
        applications.c.address == (address.packed if address else b""),
        or_(applications.c.domain == domain, applications.c.purpose == int(Purpose.REGISTER)),
    )


def _forget(connection: Connection, application_id: bytes) -> None:
    same = applications.c.application_id == application_id
    connection.execute(delete(applications).where(same))


def _application_row(application: Application) -> dict[str, object]:
    """The columns are the fields, but for those that a database has no type for."""
    return {name: getattr(application, name) for name in _FIELDS} | {
        "purpose": int(application.purpose),
        "address": application.address.packed if application.address else b"",
        "contact": encode_contact(application.contact),
        "mailbox": canonical_mailbox(application.email),
    }


def _application(row: Any) -> Application:
    special = {
        "purpose": Purpose(row.purpose),
        "address": Address(row.address) if row.address else None,
        "contact": decode_contact(row.contact),
    }
    return Application(**{name: row._mapping[name] for name in _FIELDS} | special)
