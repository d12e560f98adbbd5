"""Counts of what was answered, cheap enough to keep for every query."""

from __future__ import annotations

from secondary.dns.codes import Rcode
from secondary.dns.reply import Transport

_RCODES = 16
# By the four bits in the header: BADVERS counts as NOERROR, and nothing else looks as BADCOOKIE.
_NAMES = {code & 0xF: code.name for code in reversed(Rcode)}


class AnswerCounter:
    """What one thread answered over one transport. That thread counts, any thread reads."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        # By response code, as the header says it.
        self.by_rcode = [0] * _RCODES
        # Left without an answer: responses, and messages too short to be one.
        self.ignored = 0
        # Queries at which the responder itself failed.
        self.failed = 0

    def answered(self, wire: bytes) -> None:
        """Counts one answer."""
        self.by_rcode[wire[3] & 0xF] += 1

    def answers(self) -> dict[str, int]:
        """How many answers there were by name of the response code, those at zero left out."""
        return {_NAMES[rcode]: count for rcode, count in enumerate(self.by_rcode) if count}
