"""Text that came from elsewhere, for a line that somebody reads."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what could forge a line, or turn one around on a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
