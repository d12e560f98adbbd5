"""A primary's log without its services: opened, used, killed and opened again by tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from primary.board_changes import BoardChange
from primary.changes import Change, CreateHolder, Register, Update, UpdateHolder, Withdraw
from primary.checkpoint_file import CheckpointFile
from primary.log_signer import LogSigner
from primary.opening import open_sequencer
from primary.rules import Policy
from primary.sequencer import MAX_CHANGES_PER_COMMIT, Sequencer
from primary.store.store import Store
from registry.address import Address
from registry.batch import Batch
from registry.contact import ContactValue
from registry.entry import Entry
from registry.errors import Problem
from registry.holder import holder_id_of
from registry.kinds import ContactField, Kind
from registry.merkle import CompactRange
from registry.note import Signer
from registry.registration import Registration
from registry.replay import Replay
from registry.state_tree import StateTree
from tests.support.boards import chain_of

ORIGIN = "log.example.org"
START_MS = 1_700_000_000_000

NAME = ContactValue(ContactField.NAME, "Example Networks", public=True)
POSTAL_ADDRESS = ContactValue(ContactField.POSTAL_ADDRESS, "1 Example Street", public=False)
EMAIL = ContactValue(ContactField.EMAIL, "postmaster@example.org", public=True)
TELEPHONE = ContactValue(ContactField.TELEPHONE, "+41 44 668 18 00", public=False)
CONTACT = (NAME, POSTAL_ADDRESS, EMAIL, TELEPHONE)
OTHER_EMAIL = ContactValue(ContactField.EMAIL, "hostmaster@example.org", public=True)
OTHER_TELEPHONE = ContactValue(ContactField.TELEPHONE, "+41 44 668 18 01", public=False)


def contact_with(*values: ContactValue) -> tuple[ContactValue, ...]:
    """CONTACT, with these values in the place of its own."""
    by_field = {value.field: value for value in (*CONTACT, *values)}
    return tuple(by_field.values())


def hidden(value: ContactValue) -> ContactValue:
    """The same value, no longer public."""
    return replace(value, public=False)


@dataclass(frozen=True)
class Person:
    """Somebody who registers: changes under one holder and key, from short arguments."""

    name: str = "first"
    host: str = "mail.example.org"
    domain: str = "example.org"

    @property
    def holder_id(self) -> bytes:
        """Derived from the key."""
        return holder_id_of(self.key)

    @property
    def key(self) -> bytes:
        """Derived from the name."""
        return sha256(f"key of {self.name}".encode()).digest()

    def create(
        self,
        contact: tuple[ContactValue, ...] = CONTACT,
        *,
        idempotency_key: bytes = b"",
    ) -> CreateHolder:
        """Creates the holder."""
        return CreateHolder(self.holder_id, self.key, contact, idempotency_key=idempotency_key)

    def update_contact(self, *values: ContactValue) -> UpdateHolder:
        """Gives the holder CONTACT, with these values in the place of its own."""
        return UpdateHolder(self.holder_id, self.key, contact_with(*values))

    def register(
        self,
        address: str,
        host: str | None = None,
        *,
        idempotency_key: bytes = b"",
        expected_version: int = 0,
    ) -> Register:
        """Registers an address."""
        return Register(
            self.holder_id,
            self.key,
            Address.parse(address),
            host or self.host,
            self.domain,
            idempotency_key=idempotency_key,
            expected_version=expected_version,
        )

    def update(self, address: str, host: str, *, expected_version: int = 0) -> Update:
        """Gives an address another host."""
        return Update(
            self.holder_id,
            self.key,
            Address.parse(address),
            host,
            self.domain,
            expected_version=expected_version,
        )

    def withdraw(self, address: str) -> Withdraw:
        """Ends a registration."""
        return Withdraw(self.holder_id, self.key, Address.parse(address))


def addresses(count: int, first: str = "198.18.0.0") -> list[str]:
    """So many addresses in a row."""
    number = int.from_bytes(Address.parse(first).packed)
    return [str(Address((number + offset).to_bytes(4))) for offset in range(count)]


@dataclass
class Log:
    """One log in one directory, or in another database; every batch of it is replayed."""

    directory: Path
    url: str = ""
    signer: Signer = field(default_factory=lambda: Signer(ORIGIN, bytes(32)))
    policy: Policy = field(default_factory=lambda: Policy(lab=True))
    now_ms: int = START_MS

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.directory / 'registry.sqlite3'}"
        self.store = Store(self.url)
        self.replay = Replay(self.signer.verifier(), CompactRange.empty(), StateTree(), 0)
        self.batches: list[Batch] = []

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint file."""
        return self.directory / "checkpoint"

    def open(self) -> Sequencer:
        """Opens the log, as a start of the primary does."""
        self.trust = self.log_signer()
        self.sequencer = open_sequencer(
            self.store,
            self.trust,
            CheckpointFile(self.checkpoint_path),
            self.policy,
            clock=lambda: self.now_ms,
        )
        return self.sequencer

    def other_sequencer(self, store: Store, checkpoint_file: CheckpointFile) -> Sequencer:
        """A sequencer with this log's key and clock."""
        return open_sequencer(
            store, self.log_signer(), checkpoint_file, self.policy, clock=lambda: self.now_ms
        )

    def log_signer(self) -> LogSigner:
        """What signs it: its one key, by the root of a board that decides nothing."""
        return LogSigner([self.signer], chain_of(self.signer))

    def reopen(self) -> Sequencer:
        """Ends the primary, as a crash would, and starts it again."""
        self.close()
        self.store = Store(self.url)
        return self.open()

    def close(self) -> None:
        """Lets go of the files."""
        self.sequencer.close()
        self.store.close()

    def registered(self, address: str) -> Registration | None:
        """The registration of an address; None if it has none."""
        record = self.store.reader.get(Kind.REGISTRATION, Address.parse(address).packed)
        return Registration.decode(Entry.decode(record.entry).payload) if record else None

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own to the SQLite file."""
        return sqlite3.connect(self.directory / "registry.sqlite3")

    def commit(self, *changes: Change | BoardChange) -> list[int | Problem]:
        """What becomes of the changes; every batch is verified as a mirror would."""
        outcomes: list[int | Problem] = []
        for part in _parts(changes):
            for committed in self.sequencer.commit(part):
                outcomes += committed.outcomes
                if committed.batch is not None:
                    self.batches.append(committed.batch)
        self.catch_up()
        return outcomes

    def catch_up(self) -> None:
        """Replays what the log has and the replay has not, from the database."""
        while stored := self.store.reader.batches_from(self.replay.size, 100):
            for batch in stored:
                self.replay.advance(self.replay.verify(batch.sign(self.signer).encode()))
        head = self.sequencer.head
        assert (self.replay.size, self.replay.root) == (head.size, head.root)

    def versions(self, *changes: Change | BoardChange) -> list[int]:
        """The versions that the changes lead to; none may be refused."""
        outcomes = self.commit(*changes)
        versions = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert len(versions) == len(changes), outcomes
        return versions

    def codes(self, *changes: Change | BoardChange) -> list[str]:
        """The codes of the problems; empty where a change was granted."""
        return [
            outcome.code if isinstance(outcome, Problem) else ""
            for outcome in self.commit(*changes)
        ]


def new_log(directory: Path, url: str = "") -> Log:
    """An open, empty log."""
    log = Log(directory, url)
    log.store.migrate()
    log.open()
    return log


def _parts(
    changes: tuple[Change | BoardChange, ...],
) -> Iterable[tuple[Change | BoardChange, ...]]:
    step = MAX_CHANGES_PER_COMMIT
    return [changes[at : at + step] for at in range(0, len(changes), step)]
