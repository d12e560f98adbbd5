"""Where an import stands: a small file beside the input, so that a second run goes on.

It is an aid and no proof: rows settled after it was last written are sent again, and the
registry then has them already.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.files import write_atomic

FORMAT: Final = "smtpnic-import-1"
MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows that are settled."""

    registered: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0

    @property
    def rows(self) -> int:
        """All settled rows."""
        return self.registered + self.updated + self.unchanged + self.refused

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.registered + other.registered,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True)
class Journal:
    """The settled part of an input: its length in bytes and lines, its hash, and the counts.

    `primary` and `holder` say for whom the rows were settled; `report_bytes` is how much of
    the report of refused rows belongs to them.
    """

    primary: str
    holder: str
    offset: int = 0
    line: int = 0
    prefix_sha256: str = ""
    report_bytes: int = 0
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        numbers = (self.offset, self.line, self.report_bytes, *dataclasses.astuple(self.counts))
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a journal's numbers count from zero")

    def save(self, path: Path) -> None:
        """Writes the journal; a crash leaves the old or the new one."""
        values = {"format": FORMAT, **dataclasses.asdict(self)}
        write_atomic(path, json.dumps(values, indent=1).encode() + b"\n", MODE)

    @classmethod
    def load(cls, path: Path) -> Journal | None:
        """The journal in the file, None if there is no file; ConfigurationError if damaged."""
        try:
            values = json.loads(path.read_bytes())
            if values.pop("format") != FORMAT:
                raise ValueError(FORMAT)
            return cls(**{**values, "counts": Counts(**values["counts"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"the journal {path} cannot be used ({error}): import with --restart to start anew"
            ) from error
