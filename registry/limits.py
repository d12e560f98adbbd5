"""Limits of the protocol: every verifier checks them, nobody may configure them."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# etcd refuses more than 128 operations in a transaction (--max-txn-ops): two a change
# (record and openings) leave eight for the cursor and its guards.
MAX_CHANGES_PER_BATCH: Final = 60
# Of a bulk stream: ten full batches.
MAX_CHANGES_PER_REQUEST: Final = 10 * MAX_CHANGES_PER_BATCH
# The changes and the state entry that closes them.
MAX_ENTRIES_PER_BATCH: Final = MAX_CHANGES_PER_BATCH + 1
# A full batch of the largest entries is half of what a batch may have: openings fit beside.
MAX_ENTRY_BYTES: Final = 8 * KIB
# etcd refuses requests over 1.5 MiB (--max-request-bytes); the rest is room for its framing.
MAX_BATCH_BYTES: Final = 1 * MIB

# A checkpoint is three short lines; C2SP signed-note wants room for 16 signatures, and
# Go's sumdb/note stops at 100 signatures and 1 MB.
MAX_NOTE_BYTES: Final = 64 * KIB
MAX_NOTE_SIGNATURES: Final = 100
# A key is named like a schema-less URL: a host name at its longest (RFC 1035, 2.3.4).
MAX_KEY_NAME_BYTES: Final = 255

# The output of SHA-256.
HASH_BYTES: Final = 32
# An HMAC key no shorter than the hash (RFC 2104, 3).
SALT_BYTES: Final = 32
# As many random bits as nobody draws twice: a UUID (RFC 9562) has six fewer.
HOLDER_ID_BYTES: Final = 16
# A decision is named by so much of its text's SHA-256: nobody finds two texts with one name.
DECISION_ID_BYTES: Final = 16
# A root is named by its version.
ROOT_KEY_BYTES: Final = 8
# One for each of the four contact fields, and as many of fields that newer versions may bring.
MAX_OPENINGS_PER_ENTRY: Final = 8

# Go's tlog and SQL databases count in signed 64-bit integers.
MAX_LOG_SIZE: Final = 2**63 - 1
# An audit path has a step for each bit of the size, a consistency proof one more.
MAX_PROOF_HASHES: Final = 64
