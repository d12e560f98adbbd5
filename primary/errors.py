"""Why a primary does not start."""

from __future__ import annotations

from registry.errors import RegistryError


class DoubtfulStateError(RegistryError):
    """Starting might fork the log, so the primary does not; a person has to decide first."""
