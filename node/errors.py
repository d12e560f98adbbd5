"""What can be wrong on the machine a process runs on: its settings or its disk."""

from __future__ import annotations

from registry.errors import RegistryError


class ConfigurationError(RegistryError):
    """Settings, key material or a command line that a person has to change first."""


class StorageError(RegistryError):
    """Files that are missing, damaged or cannot be written; a person has to look."""
