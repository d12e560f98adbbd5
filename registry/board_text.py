"""What the board signs: short texts, one fact a line, in one form only; and who signed them.

A text in a file is a signed note (C2SP signed-note): the text, an empty line, signature lines. A
signature is one that `ssh-keygen -Y sign` makes, over the text's bytes, as signature type 0xff
(which C2SP leaves to others). Nobody encodes a text again: what was signed are its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from registry.errors import MalformedError, SignatureError, ThresholdError
from registry.note import KEY_ID_BYTES, NoteSignature, UnverifiedNote, encode_utf8
from registry.ssh_keys import SshKey
from registry.sshsig import SshSignature

_TYPE: Final = b"\xffsshsig"
_DAY: Final = 86_400
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
# 9999-12-31T23:59:59Z
_MAX_TIME_S: Final = 253_402_300_799
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BoardMember:
    """Somebody who signs for the board: a short name, and the key."""

    name: str
    key: SshKey

    def __post_init__(self) -> None:
        if re.fullmatch(r"[a-z0-9][a-z0-9._@-]{0,63}", self.name, re.ASCII) is None:
            raise MalformedError(f"{self.name!r} is no name of a board member: a-z, 0-9, . _ @ -")


@dataclass(frozen=True, slots=True)
class SignedText:
    """A text and signatures that claim to be of it. Nothing is verified before `signers`."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> SignedText:
        """The text in a file, signed or not yet; MalformedError if it is none."""
        if b"\n\n" not in data:
            try:
                return cls(data.decode())
            except UnicodeDecodeError:
                raise MalformedError("a text that is not UTF-8") from None
        note = UnverifiedNote.parse(data)
        return cls(note.text, note.signatures)

    def encode(self) -> bytes:
        """The file's bytes."""
        if not self.signatures:
            return encode_utf8(self.text)
        return UnverifiedNote(self.text, self.signatures).encode()

    def with_signature(self, member: BoardMember, signature: SshSignature) -> SignedText:
        """With the member's signature, in place of one that the same key made before."""
        line = _signature_line(member, signature)
        others = [each for each in self.signatures if each.key_id != line.key_id]
        return SignedText(self.text, (*others, line))

    def signers(self, board: Sequence[BoardMember], namespace: str) -> tuple[BoardMember, ...]:
        """The members of this board who signed the text, in the board's order, each once.

        Counted by key: two signatures of one key are one, under whatever names. Signatures of
        keys that the board has not are passed over. SignatureError: one that claims a key of the
        board is false; MalformedError: one is no signature.
        """
        by_point = {member.key.point: member for member in board}
        message = encode_utf8(self.text)
        found: set[bytes] = set()
        for line in self.signatures:
            signature = SshSignature.decode(line.value)
            member = by_point.get(signature.key.point)
            if member is None:
                continue
            if signature.key != member.key:
                raise SignatureError(f"a signature of {member.name}'s key in another guise")
            signature.verify(message, namespace)
            found.add(member.key.point)
        return tuple(member for member in board if member.key.point in found)

    def check(self, board: Sequence[BoardMember], threshold: int, namespace: str) -> None:
        """ThresholdError unless so many of these keys signed; errors as of `signers`."""
        signers = self.signers(board, namespace)
        if len(signers) < threshold:
            names = ", ".join(member.name for member in signers) or "nobody"
            raise ThresholdError(f"{threshold} of {len(board)} keys have to sign; signed: {names}")

    def only(self, boards: Iterable[Sequence[BoardMember]]) -> SignedText:
        """Without signatures that nobody of these boards made: what goes into the log."""
        points = {member.key.point for board in boards for member in board}
        kept = [
            line for line in self.signatures if SshSignature.decode(line.value).key.point in points
        ]
        return SignedText(self.text, tuple(kept))


class Lines:
    """Reads the lines of a text in their order: each a word, a space, and the rest."""

    def __init__(self, text: str) -> None:
        if not text.endswith("\n"):
            raise MalformedError("a text ends in a newline")
        self._lines = text[:-1].split("\n")
        self._at = 0

    def one(self, word: str) -> str:
        """The rest of the next line, which begins with `word`."""
        found = self.maybe(word)
        if found is None:
            raise MalformedError(f"line {self._at + 1}: expected {word!r}")
        return found

    def maybe(self, word: str) -> str | None:
        """The same; None if the next line begins with another word."""
        if self._at == len(self._lines):
            return None
        first, _, rest = self._lines[self._at].partition(" ")
        if first != word:
            return None
        self._at += 1
        return rest

    def many(self, word: str) -> Iterator[str]:
        """The rests of all the next lines that begin with `word`."""
        while (rest := self.maybe(word)) is not None:
            yield rest

    def end(self) -> None:
        """MalformedError if a line is left."""
        if self._at != len(self._lines):
            raise MalformedError(f"line {self._at + 1}: unexpected")


def parse_number(text: str) -> int:
    """A number in decimal digits, without leading zeroes; MalformedError."""
    if _NUMBER.fullmatch(text) is None:
        raise MalformedError(f"{text!r} is no number")
    return int(text)


def parse_time(text: str) -> int:
    """Seconds since 1970 of a time such as 2026-11-25T02:03:04Z; MalformedError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise MalformedError(f"{text!r} is no time such as 2026-11-25T02:03:04Z")
    year, month, day, hour, minute, second = map(int, match.groups())
    seconds = _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second
    if not 0 <= seconds <= _MAX_TIME_S or format_time(seconds) != text:
        raise MalformedError(f"{text!r} is no time since 1970")
    return seconds


def format_time(seconds: int) -> str:
    """What `parse_time` reads."""
    if not 0 <= seconds <= _MAX_TIME_S:
        raise MalformedError(f"{seconds} is no time since 1970 and before 10000")
    days, rest = divmod(seconds, _DAY)
    year = 1970 + days // 366
    while _days(year + 1, 1, 1) <= days:
        year += 1
    month = max(month for month in range(1, 13) if _days(year, month, 1) <= days)
    day = days - _days(year, month, 1) + 1
    hour, minute, second = rest // 3600, rest // 60 % 60, rest % 60
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March."""
    year, month = (year - 1, month + 9) if month <= 2 else (year, month - 3)
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + (153 * month + 2) // 5 + day - 719_469


def _signature_line(member: BoardMember, signature: SshSignature) -> NoteSignature:
    material = member.name.encode() + b"\n" + _TYPE + signature.key.blob
    key_id = sha256(material).digest()[:KEY_ID_BYTES]
    return NoteSignature(member.name, key_id, signature.encode())
