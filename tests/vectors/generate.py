"""Makes the vectors of the state tree: `python tests/vectors/generate.py`."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from registry.merkle import leaf_hash
from registry.state_tree import StateTree, slot

FILE = Path(__file__).with_name("state_tree.json")


def make_vectors() -> dict[str, Any]:
    """All vectors, ready for JSON; bytes are hexadecimal."""
    crowd = _keys_of_one_bucket(3)
    registration = b"\x02\xc0\x00\x02\x24"
    return {
        "description": (
            "slot = SHA-256(key) || index (8 bytes, big-endian) || leaf hash; "
            "bucket n = the sorted slots whose first 16 bits are n; "
            "bucket hash = SHA-256(0x00 || bucket), node = SHA-256(0x01 || left || right); "
            "key = kind (1 byte) || the entry's key"
        ),
        "states": [
            _state("empty", []),
            _state("one registration", [registration]),
            _state("one bucket with three keys", crowd),
            _state("50 keys", [number.to_bytes(2) for number in range(50)]),
        ],
        "one_bucket": {"keys": [key.hex() for key in crowd]},
        "proofs": [
            _proof("a live key", crowd, crowd[1]),
            _proof("no such key in a full bucket", crowd[:2], crowd[2]),
            _proof("no such key in an empty bucket", crowd, registration),
        ],
    }


def _keys_of_one_bucket(number: int) -> list[bytes]:
    """The first keys, counting up, that fall into the same bucket as the first of all."""
    first = sha256((0).to_bytes(4)).digest()[:2]
    found: list[bytes] = []
    for value in count():
        key = value.to_bytes(4)
        if sha256(key).digest()[:2] == first:
            found.append(key)
        if len(found) == number:
            break
    return found


def _entries(keys: list[bytes]) -> list[dict[str, Any]]:
    return [
        {"key": key.hex(), "index": index, "leaf_hash": leaf_hash(key).hex()}
        for index, key in enumerate(keys)
    ]


def _tree(keys: list[bytes]) -> StateTree:
    return StateTree.build(slot(key, index, leaf_hash(key)) for index, key in enumerate(keys))


def _state(name: str, keys: list[bytes]) -> dict[str, Any]:
    return {"name": name, "entries": _entries(keys), "root": _tree(keys).root.hex()}


def _proof(name: str, keys: list[bytes], about: bytes) -> dict[str, Any]:
    tree = _tree(keys)
    proof = tree.prove(about)
    return {
        "name": name,
        "entries": _entries(keys),
        "key": about.hex(),
        "root": tree.root.hex(),
        "bucket": proof.bucket.hex(),
        "siblings": [sibling.hex() for sibling in proof.siblings],
        "index": keys.index(about) if about in keys else None,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_vectors(), indent=2) + "\n")
