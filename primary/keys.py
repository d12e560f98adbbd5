"""The primary's two signing keys, each in a private file.

The log key signs checkpoints; the freshness key cosigns the newest one every few seconds. They
are two, so that freshness may one day be signed where the log key is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from node.errors import ConfigurationError
from node.files import read_private, write_atomic
from registry.errors import MalformedError
from registry.note import Cosigner, Signer

FRESHNESS_SUFFIX: Final = "/freshness"

K = TypeVar("K", Signer, Cosigner)


@dataclass(frozen=True, slots=True)
class Keys:
    """Both keys of one log."""

    log: Signer
    freshness: Cosigner

    @classmethod
    def generate(cls, origin: str) -> Keys:
        """Fresh keys for a new log; MalformedError when `origin` cannot name a key."""
        return cls(Signer.generate(origin), Cosigner.generate(origin + FRESHNESS_SUFFIX))

    @classmethod
    def load(cls, log: Path, freshness: Path, origin: str) -> Keys:
        """The keys in their files; ConfigurationError unless both are keys of `origin`."""
        keys = cls(_load(log, Signer.from_text), _load(freshness, Cosigner.from_text))
        for path, key, name in (
            (log, keys.log, origin),
            (freshness, keys.freshness, origin + FRESHNESS_SUFFIX),
        ):
            if key.name != name:
                raise ConfigurationError(f"{path} is the key of {key.name}, not of {name}")
        return keys

    def save(self, log: Path, freshness: Path) -> None:
        """Writes both, durably and for their owner only."""
        write_atomic(log, f"{self.log.to_text()}\n".encode())
        write_atomic(freshness, f"{self.freshness.to_text()}\n".encode())


def load_log_key(path: Path, origin: str) -> Signer:
    """A log key in its file; ConfigurationError unless it is a key of `origin`."""
    signer = _load(path, Signer.from_text)
    if signer.name != origin:
        raise ConfigurationError(f"{path} is the key of {signer.name}, not of {origin}")
    return signer


def _load(path: Path, parse: Callable[[str], K]) -> K:
    try:
        return parse(read_private(path).decode().removesuffix("\n"))
    except (UnicodeDecodeError, MalformedError) as error:
        raise ConfigurationError(f"{path} is not a key of the expected kind: {error}") from None
