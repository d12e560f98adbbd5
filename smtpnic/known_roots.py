"""The board's roots as this person knows them: one from a file, later ones from anybody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from registry.checkpoint import Checkpoint
from registry.errors import RegistryError, SignatureError
from registry.note import UnverifiedNote
from registry.root_chain import RootChain

# Roots of later versions than this one; what is asked may be out of reach.
FetchRoots = Callable[[int], list[bytes]]


class KnownRoots:
    """Says which checkpoints are signed; asks for newer roots when the ones it knows do not do."""

    def __init__(self, chain: RootChain, fetch: FetchRoots) -> None:
        self.chain = chain
        self._fetch = fetch

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.chain.name

    def check(self, checkpoint: Checkpoint, note: UnverifiedNote) -> None:
        """As `RootChain.check`, by the newest root that can be had if need be."""
        try:
            self.chain.check(checkpoint, note)
        except SignatureError:
            self.renew()
            self.chain.check(checkpoint, note)

    def renew(self) -> None:
        """Ask for later roots; nothing if nobody answers, or answers with what is none."""
        with suppress(RegistryError):
            self.chain = self.chain.extend_all(self._fetch(self.chain.version))
