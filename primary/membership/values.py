"""Nodes, tokens, and what each role may call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from registry.errors import Problem
from registry.names import MAX_NAME_LENGTH

HOUR_MS: Final = 3_600_000
# A label's (RFC 1035, 2.3.4).
MAX_NAME_CHARACTERS: Final = 63
# Addresses of both families at some interfaces, and names.
MAX_NAMES: Final = 16


class Role(StrEnum):
    """What a node is to the primary."""

    # Follows the log, vouches for what it stored, and looks at names for the primary.
    MIRROR = "mirror"
    # Follows the log and says nothing: an archive, a gateway, somebody who looks on.
    READER = "reader"


_REPLICATION: Final = "/smtpnic.v1.Replication/"
_READING: Final = frozenset(
    _REPLICATION + method
    for method in (
        "GetRoots",
        "Subscribe",
        "GetCheckpoint",
        "ReadSnapshot",
        "ReadTiles",
        "GetEntryBundle",
    )
)
_REPORT: Final = _REPLICATION + "ReportCosignature"
_LOOK: Final = "/smtpnic.v1.Looking/Look"
_RENEW: Final = "/smtpnic.v1.Membership/RenewCertificate"
_ANNOUNCE: Final = "/smtpnic.v1.Membership/Announce"
_TRY_PORTS: Final = "/smtpnic.v1.Membership/TryPorts"
# On the listener for nodes. What is not here nobody may call there; registration, the board and
# the administration have listeners of their own.
_METHODS: Final = {
    Role.MIRROR: _READING | {_RENEW, _REPORT, _LOOK, _ANNOUNCE, _TRY_PORTS},
    Role.READER: _READING | {_RENEW},
}
_FOR_ALL: Final = ("/grpc.health.v1.", "/grpc.reflection.")


def callable_methods() -> frozenset[str]:
    """What at least one role may call, health and reflection aside."""
    return frozenset().union(*_METHODS.values())


def may_call(role: Role, method: str) -> bool:
    """Whether nodes of this role may call a method, named /SERVICE/METHOD."""
    return method in _METHODS[role] or method.startswith(_FOR_ALL)


@dataclass(frozen=True, slots=True)
class Node:
    """Somebody who may follow, or may no more. Times in milliseconds since 1970, 0: never.

    `key` is the SHA-256 of its certificate's key, `names` what the certificate is good for.
    """

    name: str
    key: bytes
    role: Role
    operator: str
    names: tuple[str, ...]
    joined_ms: int
    seen_ms: int = 0
    certificate_ends_ms: int = 0
    removed_ms: int = 0
    removed_by: str = ""

    @property
    def is_removed(self) -> bool:
        """Whether it may follow no more."""
        return self.removed_ms > 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token as the primary knows it: by the hash of its secret.

    `name` and `names` are what the node may be called and certified for; empty: it may choose its
    name, and is certified for the address it comes from. `used_key` is the key that joined with it,
    `contested_ms` when another key came with the same secret.
    """

    secret_hash: bytes
    name: str
    role: Role
    operator: str
    names: tuple[str, ...]
    upstream: str
    created_ms: int
    expires_ms: int
    revoked_ms: int = 0
    used_ms: int = 0
    used_key: bytes = b""
    used_name: str = ""
    contested_ms: int = 0

    @property
    def label(self) -> str:
        """How people name it; it tells nothing of the secret."""
        return self.secret_hash.hex()[:8]

    def state(self, now_ms: int) -> str:
        """In one word."""
        if self.revoked_ms:
            return "revoked"
        if self.used_ms:
            return "used"
        return "expired" if now_ms >= self.expires_ms else "open"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node that joins asks for: its name, its names, its key's digest; and whence it came.

    An empty name, or no names: what the token says. Problem: more than anyone needs.
    """

    name: str
    names: tuple[str, ...]
    key: bytes
    peer: str

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME_CHARACTERS:
            raise Problem("name", f"a name has {MAX_NAME_CHARACTERS} characters at most", "name")
        if len(self.names) > MAX_NAMES or any(len(n) > MAX_NAME_LENGTH for n in self.names):
            raise Problem("names", f"{MAX_NAMES} names of a host's length at most", "names")
