"""New directories with settings in them, for the primary and for the nodes it enrols."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError

PUBLIC_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o700

Value = str | bool | Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a TOML file, with lines of explanation above; without a name, the file's top."""

    name: str
    comments: Sequence[str]
    values: Sequence[tuple[str, Value]]

    def lines(self) -> list[str]:
        """The table as text. JSON's strings, lists and truth values are TOML's too."""
        return [
            *(f"# {comment}" for comment in self.comments),
            *([f"[{self.name}]"] if self.name else []),
            *(f"{key} = {json.dumps(value)}" for key, value in self.values),
        ]


def toml(tables: Sequence[Table]) -> bytes:
    """A TOML file of these tables."""
    return ("\n\n".join("\n".join(table.lines()) for table in tables) + "\n").encode()


def make_empty(directory: Path) -> None:
    """Makes a directory for its owner only; ConfigurationError when something is in it."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConfigurationError(
                f"{directory} is not empty: choose a new directory; nothing was changed"
            )
        directory.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise ConfigurationError(f"cannot use {directory}: {error.strerror or error}") from error
