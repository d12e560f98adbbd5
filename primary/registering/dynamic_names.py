"""Host names that look made up by a provider: pointed out to the person, and no more than that.

A guess refuses nobody: that the address stays is shown by proofs over a week.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from registry.address import Address

_WORDS: Final = re.compile(
    r"(?:^|[.-])(?:a?dsl|vdsl|cable|catv|client|cpe|customer|dhcp|dial(?:in|up)?|docsis|dyn(?:amic)?"
    r"|dynip|fios|ftth|gprs|lte|mobile|modem|pool|ppp|pppoe|umts|wifi|wimax)[0-9]*(?:[.-]|$)"
)
# Three octets of the address in a row: two may be chance.
_PAIRS_IN_ROW: Final = 2
_HEX_DIGITS: Final = 8


def looks_dynamic(host: str, address: Address) -> str:
    """Why the name looks dynamic, for people; empty if it does not."""
    first, _, rest = host.partition(".")
    word = _WORDS.search(f"{first}.{rest}")
    if word is not None:
        return f"the name has {word[0].strip('.-')!r} in it"
    if _has_address(host, address):
        return "the name is made from the address"
    return ""


def _has_address(host: str, address: Address) -> bool:
    digits = address.packed.hex()
    if digits[-_HEX_DIGITS:] in host.replace("-", "").replace(".", ""):
        return True
    if address.family == 6:
        return False
    octets = [str(octet) for octet in address.packed]
    return any(_in_row(host, order) for order in (octets, octets[::-1]))


def _in_row(host: str, octets: list[str]) -> bool:
    """Whether some octets that follow each other in the address do so in the name."""
    if "".join(octet.zfill(3) for octet in octets) in host:
        return True
    rows = [
        re.search(rf"(?<![0-9])0*{one}[.-]0*{other}(?![0-9])", host)
        for one, other in pairwise(octets)
    ]
    return sum(row is not None for row in rows) >= _PAIRS_IN_ROW
