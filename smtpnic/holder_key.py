"""The key with which a holder changes what is theirs: made here, kept in a private file."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError
from node.files import read_private, write_atomic
from registry.holder import holder_id_of
from registry.limits import HOLDER_ID_BYTES
from smtpnic.settings import config_directory

MANAGEMENT_KEY_BYTES: Final = 32
DIRECTORY_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class HolderKey:
    """A holder's identifier and management key. ValueError for other lengths than 16 and 32."""

    holder_id: bytes
    management_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.holder_id) != HOLDER_ID_BYTES:
            raise ValueError(f"a holder identifier has {HOLDER_ID_BYTES} bytes")
        if len(self.management_key) != MANAGEMENT_KEY_BYTES:
            raise ValueError(f"a management key has {MANAGEMENT_KEY_BYTES} bytes")

    @classmethod
    def generate(cls) -> HolderKey:
        """A new holder's."""
        key = secrets.token_bytes(MANAGEMENT_KEY_BYTES)
        return cls(holder_id_of(key), key)

    @classmethod
    def load(cls, path: Path) -> HolderKey:
        """From its file; ConfigurationError if it is missing, damaged or readable by others."""
        data = read_private(path)
        try:
            values = json.loads(data)
            return cls(bytes.fromhex(values["holder_id"]), bytes.fromhex(values["management_key"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a holder's key file: {error}") from None

    def save(self, path: Path) -> None:
        """Writes the file, durably and for this user alone."""
        try:
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path.parent}: {error.strerror or error}") from error
        values = {
            "holder_id": self.holder_id.hex(),
            "management_key": self.management_key.hex(),
        }
        write_atomic(path, json.dumps(values, indent=1).encode() + b"\n")


def keys_directory() -> Path:
    """Where key files are unless `--holder` says otherwise."""
    return config_directory() / "holders"


def usual_path(holder_id: bytes) -> Path:
    """Where this holder's key file is unless `--holder` says otherwise."""
    return keys_directory() / f"{holder_id.hex()}.json"


def recovery_path(holder_id: bytes) -> Path:
    """Where a holder's key to be is, until the registry has taken it."""
    return keys_directory() / f"{holder_id.hex()}.recovery"


def is_holder_id(text: str) -> bool:
    """Whether the text is an identifier, and so no path."""
    digits = len(text) == HOLDER_ID_BYTES * 2
    return digits and text.isalnum() and all(digit in "0123456789abcdef" for digit in text)


def find_key_file(chosen: str) -> Path:
    """The key file that `chosen` means: a path, or a holder's identifier; "" if there is but one.

    ConfigurationError says what there is to choose from.
    """
    if chosen:
        return usual_path(bytes.fromhex(chosen)) if is_holder_id(chosen) else Path(chosen)
    files = own_key_files()
    if len(files) == 1:
        return files[0]
    if not files:
        raise ConfigurationError(
            f"there is no holder's key in {keys_directory()}: make one with "
            "`smtpnic holder create`, or give --holder FILE"
        )
    names = ", ".join(file.stem for file in files)
    raise ConfigurationError(f"which holder? Give --holder with one of {names}")


def own_key_files() -> list[Path]:
    """The key files in the usual place."""
    return sorted(file for file in keys_directory().glob("*.json") if is_holder_id(file.stem))


def key_to_create(chosen: str) -> tuple[HolderKey, Path, bool]:
    """The key, its file, and whether it is new: an existing one has its creation finished."""
    if chosen and find_key_file(chosen).exists():
        path = find_key_file(chosen)
        return HolderKey.load(path), path, False
    if is_holder_id(chosen):
        raise ConfigurationError(f"there is no key of holder {chosen} on this machine")
    key = HolderKey.generate()
    path = Path(chosen) if chosen else usual_path(key.holder_id)
    # Before the registry knows of it: an acknowledged holder never lacks its key.
    key.save(path)
    return key, path, True
