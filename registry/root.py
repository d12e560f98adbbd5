"""The root of trust: which keys are good for what, as k of n board members signed it.

smtpnic-root 1
origin smtpnic.org
version 2
previous 1f0c...                      SHA-256 of the text of the version before
issued 2026-11-25T00:00:00Z
expires 2027-11-25T00:00:00Z
threshold 2
board alice ssh-ed25519 AAAA...       one line a member
log 0 1207 smtpnic.org+...            a log key, and the sizes of the log it may sign:
log 0 - smtpnic.org+...               from, up to ("-": for ever), the key
anchor 1207 LV5L...                   the root hash of the log at a size: it goes on from there
freshness smtpnic.org/freshness+...
authority 9be2...                     SHA-256 of a certificate (DER) that signs nodes
policy staleness-seconds 1209600      one line for every policy

A board, before there is a root, is a text of its `threshold` and `board` lines alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from hashlib import sha256
from typing import Final, Self

from registry.board_text import BoardMember, Lines, format_time, parse_number, parse_time
from registry.errors import MalformedError, UnknownValueError
from registry.limits import HASH_BYTES, MAX_LOG_SIZE
from registry.note import CosignatureVerifier, Verifier, check_key_name, decode_base64
from registry.note import encode_base64 as base64
from registry.ssh_keys import SshKey

NAMESPACE: Final = "smtpnic-root"
FORMAT: Final = "1"

# With as many signatures by security tokens a root still fits an entry of the log.
MAX_BOARD: Final = 15
# One for each rotation that followers may still have to verify over; the oldest may be left out.
MAX_LOG_KEYS: Final = 8
MAX_FRESHNESS_KEYS: Final = 4
MAX_AUTHORITIES: Final = 4
# What a follower reads in one go; one a month lasts 80 years.
MAX_ROOTS: Final = 1000
# TUF's advice is to renew early; certbot renews in the last third, we warn in the last seventh.
RENEWAL_PART: Final = 7

DAY: Final = 86_400


class Validity(IntEnum):
    """How far a root is from its expiry. None of them stops a lookup or a registration."""

    GOOD = 1
    # In the last seventh of its life: a warning.
    DUE = 2
    # An error in every log and status, and the board decides nothing under it but the next root.
    EXPIRED = 3


# Policies of the first roots.
_ALWAYS_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Policies:
    """What the board sets, in the root or by a decision. Names of the wire have dashes.

    `staleness_seconds`: without any cosignature for so long, a mirror gives SERVFAIL.
    `reverification_seconds`: about how often a registration that holds is looked at again.
    `registrations_per_holder` is a quota; 0 for none. The other quotas are the most registrations
    of a domain, of a mailbox, and of a network around an address; 0: what the primary's settings
    say.
    """

    staleness_seconds: int = 14 * DAY
    reverification_seconds: int = DAY
    registrations_per_holder: int = 0
    registrations_per_domain: int = 0
    registrations_per_email: int = 0
    registrations_per_ipv4_24: int = 0
    registrations_per_ipv6_64: int = 0
    registrations_per_ipv6_48: int = 0

    def __post_init__(self) -> None:
        if self.staleness_seconds < DAY or self.reverification_seconds < DAY:
            raise MalformedError("staleness and re-verification periods are a day at least")
        if max(self.values().values()) > MAX_LOG_SIZE:
            raise MalformedError("a policy beyond all numbers")

    @classmethod
    def names(cls) -> list[str]:
        """Every policy, in the order of a root's text."""
        return [field.name.replace("_", "-") for field in fields(cls)]

    def values(self) -> dict[str, int]:
        """Each by its name."""
        return {name: getattr(self, name.replace("-", "_")) for name in self.names()}

    def lines(self) -> list[str]:
        """As in a root's text: the first three always, as in roots of old, others where set."""
        told = [*self.values().items()]
        return [
            f"policy {name} {value}"
            for number, (name, value) in enumerate(told)
            if value or number < _ALWAYS_TOLD
        ]

    def having(self, name: str, value: int) -> Self:
        """With another value of one; UnknownValueError if there is no such policy."""
        if name not in self.names():
            raise UnknownValueError(f"no policy {name!r}; there are {', '.join(self.names())}")
        return replace(self, **{name.replace("-", "_"): value})


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key that may sign the log's checkpoints from the size `first` up to `last` (None: all)."""

    verifier: Verifier
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        last = MAX_LOG_SIZE if self.last is None else self.last
        if not 0 <= self.first <= last <= MAX_LOG_SIZE:
            raise MalformedError("a log key's sizes begin at 0 or more, and end later")

    def is_good_at(self, size: int) -> bool:
        """Whether it may sign the checkpoint of a log of this size."""
        return self.first <= size and (self.last is None or size <= self.last)


@dataclass(frozen=True, slots=True)
class Anchor:
    """The root hash of the log at a size: whatever was signed there, the log goes on from this."""

    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not 0 < self.size <= MAX_LOG_SIZE or len(self.root) != HASH_BYTES:
            raise MalformedError("an anchor has a size of the log and a root hash")


@dataclass(frozen=True, slots=True)
class Root:
    """One version of the root. Times are in seconds since 1970. MalformedError if it cannot be.

    `previous` is the SHA-256 of the text of the version before; empty for version 1.
    """

    origin: str
    version: int
    previous: bytes
    issued_s: int
    expires_s: int
    threshold: int
    board: tuple[BoardMember, ...]
    log_keys: tuple[LogKey, ...]
    anchors: tuple[Anchor, ...]
    freshness_keys: tuple[CosignatureVerifier, ...]
    authorities: tuple[bytes, ...]
    policies: Policies

    def __post_init__(self) -> None:
        check_key_name(self.origin)
        if self.version < 1 or len(self.previous) != (HASH_BYTES if self.version > 1 else 0):
            raise MalformedError("versions begin at 1, and from 2 on name the one before")
        if self.expires_s <= self.issued_s:
            raise MalformedError("a root expires after it was issued")
        self._check_board()
        self._check_keys()

    def _check_board(self) -> None:
        if not 1 <= len(self.board) <= MAX_BOARD:
            raise MalformedError(f"a board has 1 to {MAX_BOARD} members")
        if not 1 <= self.threshold <= len(self.board):
            raise MalformedError(f"{self.threshold} of {len(self.board)} can never sign")
        # By the key itself: one key under two names, or in two guises, would count twice.
        if len({member.key.point for member in self.board}) != len(self.board):
            raise MalformedError("two members of the board with one key")
        if len({member.name for member in self.board}) != len(self.board):
            raise MalformedError("two members of the board with one name")

    def _check_keys(self) -> None:
        for what, count, most in (
            ("log keys", len(self.log_keys), MAX_LOG_KEYS),
            ("freshness keys", len(self.freshness_keys), MAX_FRESHNESS_KEYS),
            ("authorities", len(self.authorities), MAX_AUTHORITIES),
        ):
            if not 1 <= count <= most:
                raise MalformedError(f"a root names 1 to {most} {what}")
        if any(key.verifier.name != self.origin for key in self.log_keys):
            raise MalformedError(f"a log key that is not named {self.origin}")
        if len({key.verifier.public_key for key in self.log_keys}) != len(self.log_keys):
            raise MalformedError("one log key twice")
        if sorted({anchor.size for anchor in self.anchors}) != [each.size for each in self.anchors]:
            raise MalformedError("anchors stand in the order of their sizes, each size once")
        if any(len(authority) != HASH_BYTES for authority in self.authorities):
            raise MalformedError("an authority is named by the SHA-256 of its certificate")

    @classmethod
    def parse(cls, text: str) -> Root:
        """The root in a text; MalformedError if it is none, or is written in another way."""
        lines = Lines(text)
        if lines.one("smtpnic-root") != FORMAT:
            raise UnknownValueError("a root of another format")
        root = cls(
            origin=lines.one("origin"),
            version=parse_number(lines.one("version")),
            previous=_parse_hash(lines.maybe("previous") or ""),
            issued_s=parse_time(lines.one("issued")),
            expires_s=parse_time(lines.one("expires")),
            threshold=parse_number(lines.one("threshold")),
            board=tuple(parse_member(rest) for rest in lines.many("board")),
            log_keys=tuple(_parse_log_key(rest) for rest in lines.many("log")),
            anchors=tuple(_parse_anchor(rest) for rest in lines.many("anchor")),
            freshness_keys=tuple(map(CosignatureVerifier.from_vkey, lines.many("freshness"))),
            authorities=tuple(map(_parse_hash, lines.many("authority"))),
            policies=_parse_policies(lines),
        )
        lines.end()
        if root.text() != text:
            raise MalformedError("a root that is written in another way than it has to be")
        return root

    def text(self) -> str:
        """The text that is signed."""
        lines = [
            f"smtpnic-root {FORMAT}",
            f"origin {self.origin}",
            f"version {self.version}",
            *([f"previous {self.previous.hex()}"] if self.previous else []),
            f"issued {format_time(self.issued_s)}",
            f"expires {format_time(self.expires_s)}",
            f"threshold {self.threshold}",
            *map(_member_line, self.board),
            *(_log_key_line(key) for key in self.log_keys),
            *(f"anchor {anchor.size} {base64(anchor.root)}" for anchor in self.anchors),
            *(f"freshness {key.vkey()}" for key in self.freshness_keys),
            *(f"authority {authority.hex()}" for authority in self.authorities),
            *self.policies.lines(),
        ]
        return "".join(f"{line}\n" for line in lines)

    def digest(self) -> bytes:
        """What the next version calls its `previous`."""
        return sha256(self.text().encode()).digest()

    def validity(self, now_s: float) -> Validity:
        """How it stands at a time, in seconds since 1970."""
        if now_s >= self.expires_s:
            return Validity.EXPIRED
        due_s = self.expires_s - (self.expires_s - self.issued_s) / RENEWAL_PART
        return Validity.DUE if now_s >= due_s else Validity.GOOD


def parse_board(text: str) -> tuple[int, tuple[BoardMember, ...]]:
    """The threshold and the members in a board's text; MalformedError."""
    lines = Lines(text)
    threshold = parse_number(lines.one("threshold"))
    members = tuple(parse_member(rest) for rest in lines.many("board"))
    lines.end()
    return threshold, members


def board_text(threshold: int, members: Iterable[BoardMember]) -> str:
    """What `parse_board` reads."""
    lines = [f"threshold {threshold}", *(_member_line(member) for member in members)]
    return "".join(f"{line}\n" for line in lines)


def _member_line(member: BoardMember) -> str:
    return f"board {member.name} {member.key.text()}"


def parse_member(text: str) -> BoardMember:
    """A member as a line has it: name, key type, base64; MalformedError."""
    name, _, key = text.partition(" ")
    return BoardMember(name, SshKey.parse(key))


def _log_key_line(key: LogKey) -> str:
    last = "-" if key.last is None else str(key.last)
    return f"log {key.first} {last} {key.verifier.vkey()}"


def _parse_log_key(text: str) -> LogKey:
    words = text.split(" ")
    if len(words) != 3:
        raise MalformedError("a log key has a first size, a last size or -, and a vkey")
    last = None if words[1] == "-" else parse_number(words[1])
    return LogKey(Verifier.from_vkey(words[2]), parse_number(words[0]), last)


def _parse_anchor(text: str) -> Anchor:
    size, _, root = text.partition(" ")
    return Anchor(parse_number(size), decode_base64(root))


def _parse_policies(lines: Lines) -> Policies:
    policies = Policies()
    for rest in lines.many("policy"):
        name, _, value = rest.partition(" ")
        policies = policies.having(name, parse_number(value))
    return policies


def _parse_hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise MalformedError("not a hash in hexadecimal digits") from None
