"""What WHOIS and RDAP answer from, as a view of the replica."""

from __future__ import annotations

from node.lookup.directory import AsOf, Directory
from secondary.view import Standing


class DirectoryView(Directory):
    """A directory that the reader fills and moves on."""

    def __init__(self) -> None:
        super().__init__()
        self._standing: Standing | None = None

    @property
    def standing(self) -> Standing:
        """How far in the log the directory is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the directory was not loaded")
        return self._standing

    def advance(self, standing: Standing) -> None:
        """What answers state as their origin rises with this, after the records."""
        self.stand(AsOf(standing.position.checkpoint, standing.vouched_s))
        self._standing = standing

    def retire(self) -> None:
        """Nobody keeps it for longer than a question."""
