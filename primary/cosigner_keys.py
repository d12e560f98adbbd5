"""Which key each mirror cosigns with: one small file a mirror, the first key that it showed.

A mirror's name is in its certificate, which the registry's authority signed, so nobody else can
show a key for it. A second key is refused until the file is removed: a mirror that was broken into
cannot quietly begin another history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from node.errors import StorageError
from node.files import write_atomic
from registry.cosigning import cosigner_name
from registry.errors import MalformedError, Problem
from registry.note import CosignatureVerifier

SUFFIX: Final = ".vkey"
PUBLIC_MODE: Final = 0o644
# A certificate's name is one label (RFC 1035, 2.3.4), which makes it a file's name too.
MAX_NODE_BYTES: Final = 63


class CosignerKeys:
    """The keys in one directory; one process at a time adds to it."""

    def __init__(self, directory: Path, origin: str) -> None:
        self._directory = directory
        self._origin = origin

    def check(self, node: str, verifier: CosignatureVerifier) -> None:
        """Remembers the node's first key, durably.

        Problem `cosigner`: it is another than the first. StorageError: the disk refuses.
        """
        path, vkey = self._path(node), verifier.vkey()
        try:
            known = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_atomic(path, f"{vkey}\n".encode("ascii"), PUBLIC_MODE)
            return
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"cannot read {path}: {error}") from error
        if known != vkey:
            raise Problem(
                "cosigner",
                f"{node} cosigned with another key before: if it was made anew on purpose, the "
                f"primary's operator removes {path.name}",
            )

    def forget(self, node: str) -> bool:
        """Lets the node come with a new key; False if none was known."""
        path = self._path(node)
        if not path.exists():
            return False
        path.unlink()
        return True

    def parse(self, node: str, vkey: str) -> CosignatureVerifier:
        """The key that a node shows; Problem `cosigner` if it can be none of its keys."""
        try:
            verifier = CosignatureVerifier.from_vkey(vkey)
        except MalformedError as error:
            raise Problem("cosigner", f"not a cosigner's public key: {error}") from None
        name = cosigner_name(self._origin, node)
        if verifier.name != name:
            raise Problem("cosigner", f"a key of {verifier.name}, where {name} may report")
        return verifier

    def _path(self, node: str) -> Path:
        is_label = node.isascii() and node.replace("-", "").isalnum()
        if not is_label or len(node) > MAX_NODE_BYTES:
            raise Problem("cosigner", f"{node!r} is no node's name")
        return self._directory / f"{node}{SUFFIX}"
