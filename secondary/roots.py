"""The board's roots as this secondary knows them: pinned in a file, followed from there on.

What is verified stays in the data directory, so that a restart knows the newest log key before
anybody answers. Roots may come from anyone, the upstream or etcd: their signatures count.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError
from node.files import write_atomic
from node.logging import get_logger
from registry.checkpoint import Checkpoint
from registry.errors import VerificationError
from registry.note import Opened, UnverifiedNote
from registry.root_chain import RootChain
from secondary.settings import SecondarySettings

_PUBLIC_MODE: Final = 0o644

_log = get_logger("roots")


class Roots:
    """The newest verified chain. It says which keys signed; any thread may ask and may add."""

    def __init__(self, chain: RootChain, directory: Path | None = None) -> None:
        """Begin with a chain that is trusted; what is added to it is kept in `directory`."""
        self._chain = chain
        self._directory = directory
        self._lock = threading.Lock()

    @classmethod
    def load(cls, settings: SecondarySettings, *, keep: bool = False) -> Roots:
        """The pinned root, and those that were verified before; `keep`: and those that will be.

        ConfigurationError: the file of the pinned root is not usable.
        """
        try:
            chain = RootChain.pin(settings.root_file.read_bytes())
        except (OSError, VerificationError) as error:
            raise ConfigurationError(
                f"root_file: {settings.root_file} is no root to begin with: {error}"
            ) from error
        for path in sorted(settings.roots_dir.glob("*.root")):
            try:
                chain = chain.extend_all([path.read_bytes()])
            except (OSError, VerificationError) as error:
                _log.warning("root.ignored", file=str(path), reason=str(error))
        return cls(chain, settings.roots_dir if keep else None)

    @property
    def chain(self) -> RootChain:
        """All versions that are known."""
        return self._chain

    @property
    def name(self) -> str:
        """The log's origin."""
        return self._chain.name

    @property
    def wanted_after(self) -> int:
        """The version after which roots are missing here: 0 until the oldest ones are known."""
        return self._chain.version if self._chain.roots[0].root.version == 1 else 0

    def check(self, checkpoint: Checkpoint, note: UnverifiedNote) -> None:
        """As `RootChain.check`."""
        self._chain.check(checkpoint, note)

    def check_freshness(self, note: UnverifiedNote) -> Opened:
        """As `RootChain.check_freshness`."""
        return self._chain.check_freshness(note)

    def take(self, notes: Sequence[bytes]) -> None:
        """Verify and know these too; errors as of `RootChain.extend`, and then nothing changes."""
        if notes:
            with self._lock:
                self._set(self._chain.extend_all(notes))

    def adopt(self, chain: RootChain) -> None:
        """Know a chain that was verified elsewhere, from this one on."""
        if chain.version > self._chain.version:
            with self._lock:
                self._set(chain)

    def _set(self, chain: RootChain) -> None:
        before = self._chain.version
        if chain is self._chain or chain.version < before:
            return
        self._chain = chain
        for signed in chain.roots:
            if signed.root.version > before:
                _log.info("root.adopted", version=signed.root.version)
                self._keep(signed.root.version, signed.note)

    def _keep(self, version: int, note: bytes) -> None:
        if self._directory is None:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_atomic(self._directory / f"{version:08}.root", note, _PUBLIC_MODE)
        except (OSError, StorageError) as error:
            # The upstream, or etcd, will give it again.
            _log.warning("root.not_kept", version=version, reason=str(error))
