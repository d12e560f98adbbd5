"""The proof of a registration, put together at the primary, and what checking it shows."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Final

from node.workers import Workers
from primary.intake import Intake, Proved
from primary.store.reader import Reader
from primary.tile_keeper import TileKeeper
from registry.address import Address
from registry.batch import Record, SignedState
from registry.checkpoint import CheckpointKeys
from registry.entry import state_key
from registry.errors import VerificationError
from registry.kinds import Kind
from registry.merkle import leaf_hash
from registry.proof import Lookup, VerifiedLookup, verify_lookup
from registry.tiles import inclusion_path

# Tiles are written behind the commits, within a tenth of a second.
TILES_SECONDS: Final = 5.0
# What `smtpnic verify --from` reads.
BUNDLE_FORMAT: Final = "smtpnic-proof-1"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked, for people: what, and the values that show it."""

    title: str
    text: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """What checking a proof showed; `failure` says why it does not hold, empty if it does."""

    steps: tuple[Step, ...]
    failure: str = ""


class Prover:
    """Puts proofs together, as a mirror does."""

    def __init__(self, intake: Intake, reader: Reader, tiles: TileKeeper, pool: Workers) -> None:
        self._intake = intake
        self._reader = reader
        self._tiles = tiles
        self._pool = pool

    async def prove(self, address: Address) -> Lookup:
        """That the address is registered, or that it is not. TimeoutError: the disk is slow."""
        proved = await self._intake.prove(state_key(Kind.REGISTRATION, address.packed))
        await self._tiles.wait_for(proved[0].size, TILES_SECONDS)
        return await self._pool.run(self._put_together, proved)

    def _put_together(self, proved: Proved) -> Lookup:
        head, state_proof, location = proved
        files, last = self._tiles.files, head.size - 1
        (closing,) = self._reader.entries(last, 1)
        way = tuple(inclusion_path(last, head.size, files))
        signed = SignedState(head.checkpoint, closing, way)
        if location is None:
            return Lookup(signed, state_proof)
        index, _ = location
        (entry,) = self._reader.entries(index, 1)
        path = tuple(inclusion_path(index, head.size, files))
        return Lookup(signed, state_proof, Record(index, entry, ()), path)


def bundle(address: Address, source: str, lookup: Lookup) -> bytes:
    """The file that `smtpnic verify --from` reads."""
    values = {
        "format": BUNDLE_FORMAT,
        "address": str(address),
        "mirror": source,
        "lookup": base64.b64encode(lookup.encode()).decode(),
    }
    return json.dumps(values, indent=1).encode() + b"\n"


def check(lookup: Lookup, keys: CheckpointKeys, address: Address) -> Verified:
    """Checks the proof as `smtpnic verify` does, and says what each step showed."""
    try:
        verified = verify_lookup(lookup, keys, state_key(Kind.REGISTRATION, address.packed))
    except VerificationError as error:
        return Verified((), str(error))
    return Verified((*_signed_steps(verified), *_record_steps(lookup, verified)))


def _signed_steps(verified: VerifiedLookup) -> tuple[Step, ...]:
    checkpoint = verified.checkpoint
    return (
        Step(
            "The checkpoint is signed",
            "by a log key that the board's root names for a log of this size.",
            (
                ("origin", checkpoint.origin),
                ("size", str(checkpoint.size)),
                ("root", checkpoint.root.hex()),
            ),
        ),
        Step(
            "The state entry is the last leaf of that log",
            f"it closes the batch, and counts {verified.state.live_keys} live records.",
            (
                ("state root", verified.state.state_root.hex()),
                ("zone serial", str(verified.state.zone_serial)),
            ),
        ),
    )


def _record_steps(lookup: Lookup, verified: VerifiedLookup) -> tuple[Step, ...]:
    record = verified.record
    if record is None:
        return (
            Step(
                "The state holds no record of this address",
                "the bucket that would hold it leads to the state root, and it is not there.",
            ),
        )
    hashes = len(lookup.audit_path)
    return (
        Step(
            "The record is the current one",
            f"the state says that the newest entry of this address is entry {record.index}: one "
            "that was superseded would not pass.",
            (("leaf hash", leaf_hash(record.entry).hex()),),
        ),
        Step(
            f"Entry {record.index} is in the log",
            f"{hashes} hashes lead from it to the signed root.",
            tuple((f"hash {number}", path.hex()) for number, path in enumerate(lookup.audit_path)),
        ),
    )
