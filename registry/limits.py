"""Limits of the protocol: every verifier checks them, nobody may configure them."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# etcd refuses more than 128 operations in a transaction (--max-txn-ops): two a change
# (record and openings) leave eight for the cursor and its guards.
MAX_CHANGES_PER_BATCH: Final = 60
# The changes and the state entry that closes them.
MAX_ENTRIES_PER_BATCH: Final = MAX_CHANGES_PER_BATCH + 1
MAX_ENTRY_BYTES: Final = 8 * KIB
# etcd refuses requests over 1.5 MiB (--max-request-bytes); the rest is room for its framing.
MAX_BATCH_BYTES: Final = 1 * MIB

# C2SP tlog-tiles gives an entry of a bundle a 16-bit length; ours is stricter.
MAX_BUNDLE_ENTRY_BYTES: Final = 0xFFFF

# A checkpoint is three short lines and a few signatures; Go's sumdb/note stops at 1 MB.
MAX_NOTE_BYTES: Final = 16 * KIB
# Go's sumdb/note opens at most 100 signatures.
MAX_NOTE_SIGNATURES: Final = 100
# A key name is like a schema-less URL: the longest host name (RFC 1035) bounds ours.
MAX_KEY_NAME_BYTES: Final = 255

# The output of SHA-256; as long a salt as NIST SP 800-107 asks of an HMAC key.
HASH_BYTES: Final = 32
SALT_BYTES: Final = 32
HOLDER_ID_BYTES: Final = 16
MAX_OPENINGS_PER_ENTRY: Final = 4

# Log sizes are unsigned 63-bit numbers, so that every database can hold them (RFC 9162, 2.1).
MAX_LOG_SIZE: Final = 2**63 - 1
# One audit path step for each bit of the size.
MAX_PROOF_HASHES: Final = 63
