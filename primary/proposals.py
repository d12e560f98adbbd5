"""What the board has proposed and not yet decided: signed texts, one file each."""

from __future__ import annotations

from collections.abc import Iterator
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
        # What the files hold; nobody else writes them while the primary runs. None: not read yet.
        self._known: dict[Path, SignedText] | None = None

    def all(self) -> list[SignedText]:
        """Every text that waits, in any order."""
        return list(self._texts().values())

    def _texts(self) -> dict[Path, SignedText]:
        """By its file. Anyone may ask what is proposed: only the first time reads the disk."""
        if self._known is None:
            self._known = dict(self._read())
        return self._known

    def _read(self) -> Iterator[tuple[Path, SignedText]]:
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                yield path, SignedText.parse(path.read_bytes())
            except (OSError, MalformedError):
                # Half a file is none: whoever signed can send it again.
                continue

    def get(self, text: str) -> SignedText:
        """The text with the signatures that are kept; without any, if it is not here."""
        return self._texts().get(self._path(text), SignedText(text))

    def put(self, text: SignedText) -> None:
        """Keeps it, durably. Problem "board": as many are open as may be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(text.text)
        known = self._texts()
        if path not in known and len(known) >= MAX_PROPOSALS:
            raise Problem("board", f"{MAX_PROPOSALS} proposals are open; let some expire first")
        write_atomic(path, text.encode(), _PUBLIC_MODE)
        known[path] = text

    def remove(self, text: str) -> None:
        """Forgets it: decided, or void."""
        path = self._path(text)
        path.unlink(missing_ok=True)
        self._texts().pop(path, None)

    def _path(self, text: str) -> Path:
        return self._directory / f"{sha256(text.encode()).hexdigest()[:32]}{_SUFFIX}"
