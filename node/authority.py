"""Whether the authority by which peers are known is the one that the board named."""

from __future__ import annotations

from pathlib import Path

from node.certificates import fingerprints
from node.errors import ConfigurationError
from registry.root import Root


def check_authority(path: Path, certificates: bytes, root: Root, advice: str) -> None:
    """ConfigurationError, with advice, unless the root names every certificate in the PEM file."""
    named = ", ".join(digest.hex() for digest in root.authorities)
    for digest in fingerprints(certificates):
        if digest not in root.authorities:
            raise ConfigurationError(
                f"{path} holds the authority {digest.hex()}, and root {root.version} of the board "
                f"names {named}: {advice}"
            )
