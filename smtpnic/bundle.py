"""A proof kept in a file, to be checked again without any server."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.files import write_atomic
from registry.address import Address
from registry.errors import MalformedError, Problem
from registry.proof import Lookup

FORMAT: Final = "smtpnic-proof-1"
MODE: Final = 0o644
# A bucket of a log of 100 million keys has 1,500 slots of 72 bytes; a proof is far smaller.
MAX_BUNDLE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a mirror answered about an address, and which mirror. Nothing in it is verified."""

    address: Address
    mirror: str
    lookup: Lookup

    def save(self, path: Path) -> None:
        """Writes the file."""
        values = {
            "format": FORMAT,
            "address": str(self.address),
            "mirror": self.mirror,
            "lookup": base64.b64encode(self.lookup.encode()).decode(),
        }
        write_atomic(path, json.dumps(values, indent=1).encode() + b"\n", MODE)

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """From a file; ConfigurationError: no such file; MalformedError: it holds no bundle."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BUNDLE_BYTES)
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise ValueError(f"not of the format {FORMAT}")
            lookup = Lookup.decode(base64.b64decode(values["lookup"], validate=True))
            return cls(Address.parse(values["address"]), str(values["mirror"]), lookup)
        except (ValueError, KeyError, TypeError, Problem, RecursionError) as error:
            raise MalformedError(f"{path} is not a saved proof: {error}") from None
