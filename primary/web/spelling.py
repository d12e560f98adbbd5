"""International names as people read them, and what may deceive them about it. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from registry.names import readable

# Scripts that are written together (UTS 39, 5.2: Japanese, Chinese and Korean with Latin).
_EAST_ASIAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
# Letters of other scripts that look like Latin ones in most fonts (UTS 39, confusables).
_LIKE_LATIN: Final = frozenset("асеорхуіјѕԁһԛԝӏοανρυικτ")


@dataclass(frozen=True, slots=True)
class Spelled:
    """A name as the log has it, as people write it, and a warning; empty if there is none."""

    name: str
    readable: str
    warning: str = ""

    @property
    def is_international(self) -> bool:
        """Whether the two differ."""
        return self.name != self.readable


def spelled(name: str) -> Spelled:
    """A canonical host or domain name for people."""
    written = readable(name)
    warnings = [warning for warning in map(_warning, written.split(".")) if warning]
    return Spelled(name, written, warnings[0] if warnings else "")


def _warning(label: str) -> str:
    letters = [letter for letter in label if letter.isalpha()]
    scripts = {unicodedata.name(letter, "?").split()[0].split("-")[0] for letter in letters}
    foreign = scripts - {"LATIN"}
    if not foreign:
        return ""
    if len(scripts - _EAST_ASIAN) > 1 or (foreign - _EAST_ASIAN and len(scripts) > 1):
        names = " and ".join(sorted(script.capitalize() for script in scripts))
        return f"“{label}” mixes {names} letters: it may be made to look like another name"
    if _LIKE_LATIN.issuperset(letters):
        return f"all letters of “{label}” look like Latin ones and are not"
    return ""
