"""What the database holds, as values: rows for the writer, answers of the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from primary.registering.owners import canonical_mailbox
from registry.batch import Batch, LoggedEntry
from registry.checkpoint import Checkpoint, CheckpointSigner, sign_checkpoint
from registry.contact import Opening
from registry.kinds import ContactField
from registry.merkle import CompactRange
from registry.note import Signer
from registry.state import State
from registry.statistics import Tally


@dataclass(frozen=True, slots=True)
class StoredHead:
    """Where the log stands. ValueError if the parts cannot be of one log.

    `previous` is the compact range before the last transaction; `state` is None while the log is
    empty; `holders` and `registrations` count live keys; `committed_ms` counts from
    1970-01-01T00:00:00Z.
    """

    compact_range: CompactRange
    previous: CompactRange
    state: State | None
    holders: int
    registrations: int
    committed_ms: int
    root: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.compact_range.root())
        if (self.state is None) != (self.size == 0) or self.previous.size > self.size:
            raise ValueError("parts of different logs")

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self.compact_range.size


class BoundaryRow(NamedTuple):
    """Where a batch ends and begins, and the log's root hash and time at its end."""

    size: int
    start: int
    root: bytes
    time_ms: int


class RecordRow(NamedTuple):
    """Where the newest entry of a live key is; the holder of a registration."""

    state_key: bytes
    log_index: int
    leaf_hash: bytes
    holder_id: bytes | None


class AccountRow(NamedTuple):
    """What the registry knows of a live holder beside its record."""

    holder_id: bytes
    management_key_hash: bytes
    registrations: int


class ContactRow(NamedTuple):
    """One contact field of a live holder, public or not, and the entry that commits to it."""

    holder_id: bytes
    field: int
    salt: bytes
    value: str
    public: bool
    log_index: int
    # Of an e-mail address, what is counted as one.
    mailbox: str | None


class ReceiptRow(NamedTuple):
    """What was answered to the change with this idempotency key."""

    idempotency_key: bytes
    change_digest: bytes
    log_index: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The keys that a decision on some changes needs to see."""

    state_keys: Sequence[bytes]
    accounts: Sequence[bytes]
    contacts: Sequence[bytes]
    receipts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Current:
    """What the database holds of what was wanted, each under its key.

    `records` are index and entry bytes of the newest entry.
    """

    records: Mapping[bytes, tuple[int, bytes]]
    accounts: Mapping[bytes, AccountRow]
    contacts: Mapping[bytes, Sequence[ContactRow]]
    receipts: Mapping[bytes, ReceiptRow]


@dataclass(slots=True)
class CommitRows:
    """Everything that one commit changes in the tables; each key in one list only.

    Records and accounts take the place of older ones; of the holders in `erased_contacts`, the
    contact so far is erased before `contacts` are inserted. `tally` is added to the
    statistics, domains that come and go on the day of `tally_ms`.
    """

    boundaries: list[BoundaryRow] = field(default_factory=list)
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    records: list[RecordRow] = field(default_factory=list)
    ended_records: list[bytes] = field(default_factory=list)
    accounts: list[AccountRow] = field(default_factory=list)
    ended_accounts: list[bytes] = field(default_factory=list)
    erased_contacts: list[bytes] = field(default_factory=list)
    contacts: list[ContactRow] = field(default_factory=list)
    receipts: list[ReceiptRow] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    tally_ms: int = 0


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as it stands in the log, its checkpoint still to be signed.

    Openings are those of entries that are still the newest of their key, and still public.
    """

    start: int
    root: bytes
    time_ms: int
    entries: tuple[LoggedEntry, ...]

    @property
    def size(self) -> int:
        """The size of the log after the batch."""
        return self.start + len(self.entries)

    def sign(self, signer: Signer | CheckpointSigner) -> Batch:
        """The batch with its checkpoint: the same note as ever, for Ed25519 has no randomness."""
        checkpoint = Checkpoint(signer.name, self.size, self.root)
        return Batch(self.start, self.entries, sign_checkpoint(checkpoint, signer))


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is counted of the registry."""

    log_size: int
    registrations: int
    holders: int
    zone_serial: int
    last_change_ms: int


def contact_row(holder_id: bytes, opening: Opening, index: int, *, public: bool) -> ContactRow:
    """The row that keeps what was committed to by the entry of that index."""
    is_email = opening.field == ContactField.EMAIL
    mailbox = canonical_mailbox(opening.value) if is_email else None
    return ContactRow(
        holder_id, int(opening.field), opening.salt, opening.value, public, index, mailbox
    )


def opening_of(row: ContactRow) -> Opening:
    """What opens the commitment to this contact field."""
    return Opening(ContactField(row.field), row.salt, row.value)
