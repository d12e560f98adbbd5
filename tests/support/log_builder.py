"""An honest primary in memory: builds logs, and whatever a primary would hand out of them.

Everything is derived from the origin and from what was put, so two builders that are told the
same make the same bytes; two that are told different things, with one signer, make a fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from registry.address import Address
from registry.batch import Batch, LoggedEntry, Record, SignedState
from registry.checkpoint import Checkpoint, cosign, sign_checkpoint
from registry.contact import ContactValue, Opening, commit
from registry.entry import Entry, state_key
from registry.holder import Holder
from registry.kinds import ContactField, Kind, Operation, Status
from registry.limits import HOLDER_ID_BYTES, MAX_CHANGES_PER_BATCH
from registry.merkle import CompactRange, leaf_hash
from registry.note import CosignatureVerifier, Cosigner, Signer, Verifier
from registry.proof import Lookup
from registry.registration import Registration
from registry.replay import Replay
from registry.snapshot import SnapshotHeader, encode_snapshot
from registry.state import State, next_serial
from registry.state_tree import StateTree
from tests.support.reference_tree import inclusion_proof

ORIGIN: Final = "smtpnic.org"
HOLDER_ID: Final = bytes(range(HOLDER_ID_BYTES))
FIRST_ADDRESS: Final = Address.parse("198.18.0.0")
START_MS: Final = 1_700_000_000_000
TICK_MS: Final = 1_000

PUBLIC_CONTACT: Final = MappingProxyType(
    {ContactField.NAME: "Example Networks", ContactField.EMAIL: "postmaster@example.org"}
)
PRIVATE_CONTACT: Final = MappingProxyType(
    {
        ContactField.POSTAL_ADDRESS: "1 Example Street, 8000 Zürich",
        ContactField.TELEPHONE: "+41 44 668 18 00",
    }
)


class LogBuilder:
    """Put and delete, then `commit`: that makes a batch, and moves the log on behind it.

    After a commit, `signed_state`, `snapshot`, `lookup` and the rest tell of the committed log.
    A batch that lies is had from `batch`, which signs it but moves nothing on.
    """

    def __init__(
        self,
        origin: str = ORIGIN,
        *,
        signer: Signer | None = None,
        zone_serial: int = 0,
    ) -> None:
        self.signer = signer or Signer(origin, sha256(f"log key of {origin}".encode()).digest())
        self.cosigner = Cosigner(origin, sha256(f"freshness key of {origin}".encode()).digest())
        self.zone_serial = zone_serial
        self.tree = StateTree()
        self.compact_range = CompactRange.empty()
        self.logged: list[LoggedEntry] = []
        self.batches: list[Batch] = []
        self.records: dict[bytes, Record] = {}
        self._before_closing = CompactRange.empty()
        self._pending: list[LoggedEntry] = []

    @property
    def verifier(self) -> Verifier:
        """Of the log's key."""
        return self.signer.verifier()

    @property
    def freshness_verifier(self) -> CosignatureVerifier:
        """Of the freshness key."""
        return self.cosigner.verifier()

    @property
    def size(self) -> int:
        """The committed entries."""
        return self.compact_range.size

    @property
    def root(self) -> bytes:
        """The root of the committed log."""
        return self.compact_range.root()

    @property
    def checkpoint(self) -> bytes:
        """The signed checkpoint of the committed log."""
        return self._sign(self.compact_range, self.signer)

    def put_registration(
        self,
        address: str | Address = "192.0.2.36",
        host: str = "mail.example.org",
        domain: str = "example.org",
        *,
        holder_id: bytes = HOLDER_ID,
        status: Status = Status.ACTIVE,
        reason: str = "",
        verified_ms: int = 0,
    ) -> bytes:
        """Put a registration; returns its state key."""
        if isinstance(address, str):
            address = Address.parse(address)
        registration = Registration(
            holder_id, host, domain, status, self._next_ms(), reason, verified_ms
        )
        return self.put(Kind.REGISTRATION, address.packed, registration.encode())

    def put_holder(
        self,
        holder_id: bytes = HOLDER_ID,
        *,
        public: Mapping[ContactField, str] = PUBLIC_CONTACT,
        private: Mapping[ContactField, str] = PRIVATE_CONTACT,
        status: Status = Status.ACTIVE,
    ) -> bytes:
        """Put a holder, the openings of its public contact beside it; returns its state key."""
        values = [ContactValue(field, value, True) for field, value in public.items()]
        values += [ContactValue(field, value, False) for field, value in private.items()]
        committed = [(value, *commit(value, self._salt(value.field))) for value in values]
        holder = Holder(
            status, self._next_ms(), tuple(commitment for _, commitment, _ in committed)
        )
        openings = tuple(opening for value, _, opening in committed if value.public)
        return self.put(Kind.HOLDER, holder_id, holder.encode(), openings=openings)

    def put(
        self,
        kind: int,
        key: bytes,
        payload: bytes,
        *,
        critical: bool = False,
        openings: tuple[Opening, ...] = (),
    ) -> bytes:
        """Put any kind of record; returns its state key."""
        self.add(Entry(kind, key, Operation.PUT, critical, self._next_ms(), payload), openings)
        return state_key(kind, key)

    def delete(self, key: bytes) -> None:
        """Delete what this state key has."""
        self.add(Entry(key[0], key[1:], Operation.DELETE, False, self._next_ms(), b""))

    def add(self, entry: Entry, openings: tuple[Opening, ...] = ()) -> None:
        """Add an entry as it is to what the next batch commits."""
        self._pending.append(LoggedEntry(entry.encode(), openings))

    def fill(self, count: int, *, first: Address = FIRST_ADDRESS) -> None:
        """Commit `count` registrations, of hosts and addresses in a row, in full batches."""
        number = int.from_bytes(first.packed)
        for offset in range(count):
            address = Address((number + offset).to_bytes(len(first.packed)))
            self.put_registration(address, f"mail{offset}.example.org")
            if len(self._pending) == MAX_CHANGES_PER_BATCH or offset == count - 1:
                self.commit()

    def commit(self) -> Batch:
        """The batch of what is pending; the log goes on behind it."""
        batch = self.batch()
        for index, logged in enumerate(batch.entries[:-1], self.size):
            self._take(index, logged)
        leaf_hashes = [leaf_hash(logged.entry) for logged in batch.entries]
        self._before_closing = self.compact_range.extend(leaf_hashes[:-1])
        self.compact_range = self._before_closing.extend(leaf_hashes[-1:])
        self.logged += batch.entries
        self.batches.append(batch)
        self.zone_serial = self.state.zone_serial
        self._pending = []
        return batch

    def batch(
        self,
        *,
        signer: Signer | None = None,
        live_keys: int | None = None,
        state_root: bytes | None = None,
        zone_serial: int | None = None,
    ) -> Batch:
        """The batch of what is pending, though nothing is committed: each argument is a lie."""
        staged = self.tree.stage(
            {
                entry.state_key: (index, leaf_hash(logged.entry))
                if entry.operation == Operation.PUT
                else None
                for index, logged in enumerate(self._pending, self.size)
                for entry in [Entry.decode(logged.entry)]
            }
        )
        state = State(
            staged.live if live_keys is None else live_keys,
            staged.root if state_root is None else state_root,
            next_serial(self.zone_serial) if zone_serial is None else zone_serial,
        )
        closing = Entry(Kind.STATE, b"", Operation.PUT, True, self._next_ms(), state.encode())
        return self.seal([*self._pending, LoggedEntry(closing.encode())], signer=signer)

    def seal(self, entries: list[LoggedEntry], *, signer: Signer | None = None) -> Batch:
        """Any entries as the next batch, under a checkpoint that really covers them."""
        compact_range = self.compact_range.extend([leaf_hash(logged.entry) for logged in entries])
        checkpoint = self._sign(compact_range, signer or self.signer)
        return Batch(self.size, tuple(entries), checkpoint)

    @property
    def state(self) -> State:
        """The state in the last state entry."""
        return State.decode(Entry.decode(self.logged[-1].entry).payload)

    def signed_state(self) -> SignedState:
        """The state of the committed log, with what proves it."""
        return SignedState(
            self.checkpoint, self.logged[-1].entry, self._before_closing.next_audit_path()
        )

    def freshness(self, now_s: int) -> bytes:
        """The checkpoint, with the statement that it was the newest then."""
        return cosign(self.checkpoint, self.cosigner, now_s)

    def snapshot_header(self) -> SnapshotHeader:
        """The header of the snapshot of the committed log."""
        return SnapshotHeader(self.signed_state(), self.compact_range.nodes, len(self.records))

    def snapshot(self) -> bytes:
        """The snapshot file of the committed log."""
        records = [record for _, record in sorted(self.records.items())]
        return b"".join(encode_snapshot(self.snapshot_header(), records))

    def lookup(self, key: bytes) -> Lookup:
        """What a mirror answers about this state key, at the committed log."""
        record = self.records.get(key)
        path = () if record is None else self.audit_path(record.index)
        return Lookup(self.signed_state(), self.tree.prove(key), record, path)

    def audit_path(self, index: int) -> tuple[bytes, ...]:
        """The audit path of an entry to the root of the committed log; slow."""
        return tuple(inclusion_proof(index, [leaf_hash(logged.entry) for logged in self.logged]))

    def replay(self) -> Replay:
        """A replay of this log that stands at its beginning."""
        return Replay(self.verifier, CompactRange.empty(), StateTree(), 0)

    def replayed(self) -> Replay:
        """A replay that stands where the log does."""
        replay = self.replay()
        for batch in self.batches:
            replay.advance(replay.verify(batch))
        return replay

    def _take(self, index: int, logged: LoggedEntry) -> None:
        entry = Entry.decode(logged.entry)
        put = entry.operation == Operation.PUT
        location = (index, leaf_hash(logged.entry)) if put else None
        self.tree.apply(self.tree.stage({entry.state_key: location}))
        self.records.pop(entry.state_key, None)
        if put:
            self.records[entry.state_key] = Record(index, logged.entry, logged.openings)

    def _sign(self, compact_range: CompactRange, signer: Signer) -> bytes:
        checkpoint = Checkpoint(self.signer.name, compact_range.size, compact_range.root())
        return sign_checkpoint(checkpoint, signer)

    def _next_ms(self) -> int:
        return START_MS + TICK_MS * (self.size + len(self._pending))

    def _salt(self, field: ContactField) -> bytes:
        return sha256(f"salt {self._next_ms()} {field}".encode()).digest()
