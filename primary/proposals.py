"""What the board has proposed and not yet decided: signed texts, one file each."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from node.files import write_atomic
from registry.board_text import SignedText
from registry.errors import MalformedError, Problem

# A board that leaves more open decides nothing: let some expire.
MAX_PROPOSALS: Final = 256
_SUFFIX: Final = ".proposal"
_PUBLIC_MODE: Final = 0o644


class Proposals:
    """A directory of them; for one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[SignedText]:
        """Every text that waits, in any order."""
        found = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                found.append(SignedText.parse(path.read_bytes()))
            except (OSError, MalformedError):
                # Half a file is none: whoever signed can send it again.
                continue
        return found

    def get(self, text: str) -> SignedText:
        """The text with the signatures that are kept; without any, if it is not here."""
        path = self._path(text)
        try:
            return SignedText.parse(path.read_bytes())
        except (OSError, MalformedError):
            return SignedText(text)

    def put(self, text: SignedText) -> None:
        """Keeps it, durably. Problem "board": as many are open as may be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(text.text)
        if not path.exists() and len(self.all()) >= MAX_PROPOSALS:
            raise Problem("board", f"{MAX_PROPOSALS} proposals are open; let some expire first")
        write_atomic(path, text.encode(), _PUBLIC_MODE)

    def remove(self, text: str) -> None:
        """Forgets it: decided, or void."""
        self._path(text).unlink(missing_ok=True)

    def _path(self, text: str) -> Path:
        return self._directory / f"{sha256(text.encode()).hexdigest()[:32]}{_SUFFIX}"
