"""Where things stand in etcd: the names of the keys.

    <prefix>/current                the number of the generation that is served, in ASCII; from
                                    format 2 on a space and the number of its format
    <prefix>/notice                 what readers should know of the replica; there only if so
    <prefix>/extension              a decision to answer longer without the registry, if any
    <prefix>/g<N>/r/4/<8 hex>       a registration's Record, without its openings
    <prefix>/g<N>/r/6/<32 hex>
    <prefix>/g<N>/h/<32 hex>        a holder's
    <prefix>/g<N>/k/<kind>/<hex>    one of any other kind
    <prefix>/g<N>/o/<as above>      the Record's openings apart, while there are any
    <prefix>/g<N>/cursor            the Cursor: what the generation holds, as signed
    <prefix>/g<N>/claim             who is loading the generation; gone when it is served

A transaction that changes records also writes the cursor. So a reader applies a revision only
if it writes the cursor of the generation that it reads, and then checks that cursor.
"""

from __future__ import annotations

from binascii import hexlify
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import NamedTuple

from registry.errors import OutdatedError
from registry.kinds import Kind

# How a generation is laid out. What a program of another format would misread is another format,
# and then a generation of its own: nothing is changed in place.
FORMAT = 1
_MAX_DIGITS = 18
# Plain numbers: comparing with an enumeration costs several times as much.
_REGISTRATION = int(Kind.REGISTRATION)
_HOLDER = int(Kind.HOLDER)


class NewerReplicaError(OutdatedError):
    """The generation that is served was made by a newer version, in a format of its own."""


class Section(Enum):
    """What a key of a generation holds."""

    RECORD = auto()
    OPENINGS = auto()
    CURSOR = auto()
    CLAIM = auto()


class Place(NamedTuple):
    """What a key holds, and of which state key; that is empty for the cursor and the claim."""

    section: Section
    state_key: bytes


@dataclass(frozen=True, slots=True)
class Generation:
    """One complete copy of the state, under a prefix of its own."""

    number: int
    # Ends with a slash.
    prefix: bytes
    # A generation's number is never used again, so it is known by that.
    format: int = field(compare=False)

    @property
    def name(self) -> bytes:
        """What `current` holds while it is served."""
        return b"%d" % self.number if self.format == 1 else b"%d %d" % (self.number, self.format)

    @property
    def is_outdated(self) -> bool:
        """Whether an older version made it, so that another has to be made in its place."""
        return self.format < FORMAT

    @property
    def cursor(self) -> bytes:
        """The key of the cursor."""
        return self.prefix + b"cursor"

    @property
    def claim(self) -> bytes:
        """The key that names who is loading the generation."""
        return self.prefix + b"claim"

    @property
    def end(self) -> bytes:
        """The first key after all of the generation's."""
        return self.prefix[:-1] + b"0"

    @property
    def all_openings(self) -> bytes:
        """The prefix of every key of openings."""
        return self.prefix + b"o/"

    @property
    def all_roots(self) -> bytes:
        """The prefix of every key of the board's roots."""
        return self.prefix + b"k/%d/" % Kind.ROOT

    @property
    def all_decisions(self) -> bytes:
        """The prefix of every key of the board's decisions."""
        return self.prefix + b"k/%d/" % Kind.DECISION

    def record(self, state_key: bytes) -> bytes:
        """The key of the record of `state_key`."""
        return self.prefix + _suffix(state_key)

    def openings(self, state_key: bytes) -> bytes:
        """The key of the public openings of `state_key`."""
        return self.all_openings + _suffix(state_key)

    def place(self, key: bytes) -> Place | None:
        """What `key` holds; None if it is not a name that this layout gives."""
        if not key.startswith(self.prefix):
            return None
        suffix = key[len(self.prefix) :]
        if suffix == b"cursor":
            return Place(Section.CURSOR, b"")
        if suffix == b"claim":
            return Place(Section.CLAIM, b"")
        section = Section.RECORD
        if suffix.startswith(b"o/"):
            section, suffix = Section.OPENINGS, suffix[2:]
        state_key = _state_key(suffix)
        return Place(section, state_key) if state_key else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one replica, all under `prefix`, which begins with a slash."""

    prefix: str

    def __post_init__(self) -> None:
        parts = self.prefix.split("/")
        if len(parts) < 2 or parts[0] or not all(parts[1:]) or not self.prefix.isascii():
            raise ValueError(f"etcd prefix {self.prefix!r}: expected a form such as /smtpnic")

    @property
    def all(self) -> bytes:
        """The prefix of every key of the replica."""
        return f"{self.prefix}/".encode()

    @property
    def current(self) -> bytes:
        """The key that holds the number of the generation in use."""
        return self.all + b"current"

    @property
    def notice(self) -> bytes:
        """The key that holds what readers should know."""
        return self.all + b"notice"

    @property
    def extension(self) -> bytes:
        """The key that holds an extension of staleness which came as a file."""
        return self.all + b"extension"

    @property
    def generations(self) -> tuple[bytes, bytes]:
        """From where up to where the keys of all generations stand."""
        return self.all + b"g", self.all + b"h"

    def generation(self, number: int) -> Generation:
        """The generation `number`, 1 or more, in this program's format."""
        if number < 1:
            raise ValueError(f"{number} is no generation")
        return Generation(number, self.all + b"g%d/" % number, FORMAT)

    def served(self, value: bytes | None) -> Generation | None:
        """The generation that a value of `current` names; None: nothing was ever loaded.

        NewerReplicaError: it is of a format that this program cannot read.
        """
        name, _, form = (value or b"").partition(b" ")
        number = parse_number(name)
        if number is None:
            return None
        format_ = parse_number(form) or 1
        if format_ > FORMAT:
            raise NewerReplicaError(
                f"etcd holds format {format_} below {self.prefix}, and this software reads "
                f"{FORMAT}: update it, or give it a prefix of its own"
            )
        return replace(self.generation(number), format=format_)

    def generation_of(self, key: bytes) -> Generation | None:
        """The generation that `key` is part of, if it is."""
        name, slash, _ = key.removeprefix(self.all).partition(b"/")
        number = parse_number(name[1:]) if slash and name.startswith(b"g") else None
        return self.generation(number) if number else None


def parse_number(text: bytes) -> int | None:
    """The generation number that `text` writes, as `current` holds it; None if it is none."""
    if not text.isdigit() or len(text) > _MAX_DIGITS or text.startswith(b"0"):
        return None
    return int(text)


def _suffix(state_key: bytes) -> bytes:
    kind, key = state_key[0], hexlify(state_key[1:])
    if kind == _REGISTRATION:
        return (b"r/4/" if len(state_key) == 5 else b"r/6/") + key
    return b"h/" + key if kind == _HOLDER else b"k/%d/%b" % (kind, key)


def _state_key(suffix: bytes) -> bytes | None:
    """What `_suffix` makes `suffix` of; None if it makes it of nothing."""
    *_, hexadecimal = suffix.rpartition(b"/")
    try:
        state_key = bytes([_kind(suffix)]) + bytes.fromhex(hexadecimal.decode("ascii"))
    except ValueError:
        return None
    return state_key if len(state_key) > 1 and _suffix(state_key) == suffix else None


def _kind(suffix: bytes) -> int:
    """The kind that `suffix` names; ValueError if it names none."""
    first, _, rest = suffix.partition(b"/")
    if first == b"r":
        return _REGISTRATION
    if first == b"h":
        return _HOLDER
    return int(rest.partition(b"/")[0])
