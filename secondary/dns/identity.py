"""What a server says of itself: NSID (RFC 5001), and the names of class CHAOS (RFC 4892)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dnslib import RR, TXT, DNSLabel

from secondary.dns.codes import CLASS_CHAOS, ExtendedError, Rcode, Type
from secondary.dns.reply import Reply

# With it an answer is still far below 512 bytes; of a host name's length.
MAX_TEXT_BYTES: Final = 255

# RFC 4892, 2: id.server; the others are BIND's, which that follows.
_NAME_LABELS: Final = ((b"id", b"server"), (b"hostname", b"bind"))
_VERSION_LABELS: Final = ((b"version", b"server"), (b"version", b"bind"))

_HIDDEN: Final = Reply(
    Rcode.REFUSED,
    extended_error=(ExtendedError.PROHIBITED, "not told here"),
)
_NO_DATA: Final = Reply(Rcode.NOERROR, authoritative=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """Each printable ASCII; what is empty is not told."""

    nsid: str = ""
    name: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        for said in (self.nsid, self.name, self.version):
            if not (said.isascii() and (said.isprintable() or not said)):
                raise ValueError(f"{said!r}: expected printable ASCII")
            if len(said) > MAX_TEXT_BYTES:
                raise ValueError(f"{said[:20]}...: expected {MAX_TEXT_BYTES} characters at most")

    def find(self, labels: tuple[bytes, ...], owner: DNSLabel, type_: int) -> Reply:
        """The answer of class CHAOS for lower-case `labels`; REFUSED where nothing is told."""
        said = ""
        if labels in _NAME_LABELS:
            said = self.name
        elif labels in _VERSION_LABELS:
            said = self.version
        if not said:
            return _HIDDEN
        if type_ not in (Type.TXT, Type.ANY):
            return _NO_DATA
        record = RR(owner, Type.TXT, CLASS_CHAOS, 0, TXT([said.encode("ascii")]))
        return Reply(Rcode.NOERROR, answers=(record,), authoritative=True)
