"""Makes records.json: our own encodings, so that another implementation can be held to them.

    python -m tests.vectors.generate_records

Bytes are in hex. A decoder has to read each encoding as the values beside it, and a verifier
has to accept `log`: the batches of a log from its beginning, and what proves its state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from registry.address import Address
from registry.contact import Commitment, ContactValue, Opening, commit
from registry.entry import Entry
from registry.holder import Holder
from registry.kinds import ContactField, Kind, Operation, Status
from registry.label import dashed, reversed_name
from registry.registration import Registration
from registry.state import State
from tests.support.log_builder import LogBuilder

PATH: Final = Path(__file__).parent / "records.json"

ADDRESSES: Final = (
    "192.0.2.36",
    "0.0.0.0",
    "255.255.255.255",
    "1.1.1.1",
    "2001:DB8::24",
    "2001:db8:0:0:1:0:0:1",
    "::ffff:192.0.2.36",
    "2606:4700:4700::1111",
    "::",
)
SALT: Final = bytes(range(32))
NAME: Final = ContactValue(ContactField.NAME, "Zoë Müller", public=True)
REGISTRATION: Final = Registration(
    bytes(range(16)),
    "mail.example.org",
    "example.org",
    Status.SUSPENDED,
    1_700_000_000_000,
    "returned mail",
)
STATE: Final = State(1_000_000, bytes(range(32)), 2**32 - 1)


def vectors() -> dict[str, Any]:
    """Everything that records.json holds."""
    commitment, opening = commit(NAME, SALT)
    holder = Holder(Status.ACTIVE, 1_700_000_000_000, (commitment,))
    put = Entry(
        Kind.REGISTRATION,
        Address.parse("192.0.2.36").packed,
        Operation.PUT,
        critical=False,
        time_ms=1_700_000_000_123,
        payload=REGISTRATION.encode(),
    )
    delete = Entry(Kind.HOLDER, bytes(range(16)), Operation.DELETE, True, 1, b"")
    return {
        "addresses": [_address(text) for text in ADDRESSES],
        "commitment": _commitment(commitment, opening),
        "holder": {
            "encoded": holder.encode().hex(),
            "status": holder.status,
            "created_ms": holder.created_ms,
            "commitments": [{"field": NAME.field, "digest": commitment.digest.hex()}],
        },
        "registration": {
            "encoded": REGISTRATION.encode().hex(),
            "holder_id": REGISTRATION.holder_id.hex(),
            "host": REGISTRATION.host,
            "domain": REGISTRATION.domain,
            "status": REGISTRATION.status,
            "registered_ms": REGISTRATION.registered_ms,
            "reason": REGISTRATION.reason,
        },
        "state": {
            "encoded": STATE.encode().hex(),
            "live_keys": STATE.live_keys,
            "state_root": STATE.state_root.hex(),
            "zone_serial": STATE.zone_serial,
        },
        "entries": [_entry(put), _entry(delete)],
        "log": _log(),
    }


def _address(text: str) -> dict[str, Any]:
    address = Address.parse(text)
    return {
        "text": text,
        "canonical": str(address),
        "packed": address.packed.hex(),
        "dashed": dashed(address),
        "reversed": reversed_name(address),
        "special_purpose": address.special_purpose(),
    }


def _commitment(commitment: Commitment, opening: Opening) -> dict[str, Any]:
    return {
        "field": opening.field,
        "value": opening.value,
        "salt": opening.salt.hex(),
        "digest": commitment.digest.hex(),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "encoded": entry.encode().hex(),
        "kind": entry.kind,
        "key": entry.key.hex(),
        "operation": entry.operation,
        "critical": entry.critical,
        "time_ms": entry.time_ms,
        "payload": entry.payload.hex(),
        "state_key": entry.state_key.hex(),
    }


def _log() -> dict[str, Any]:
    builder = LogBuilder("registry.example")
    holder = builder.put_holder()
    deleted = builder.put_registration("192.0.2.36")
    builder.commit()
    builder.put_registration("2001:db8::24")
    builder.delete(deleted)
    builder.put(200, b"unknown", b"opaque")
    builder.commit()
    return {
        "vkey": builder.verifier.vkey(),
        "batches": [batch.encode().hex() for batch in builder.batches],
        "size": builder.size,
        "root": builder.root.hex(),
        "live_keys": builder.tree.live,
        "state_root": builder.tree.root.hex(),
        "signed_state": builder.signed_state().encode().hex(),
        "snapshot": builder.snapshot().hex(),
        "lookups": [
            {
                "state_key": key.hex(),
                "encoded": builder.lookup(key).encode().hex(),
                "index": builder.records[key].index if key in builder.records else None,
            }
            for key in (holder, deleted)
        ],
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n")
