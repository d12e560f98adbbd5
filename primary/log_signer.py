"""Signs checkpoints with the log key that the board's root says is good at their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.errors import ConfigurationError
from primary.store.reader import Reader
from registry.board import Board
from registry.entry import Entry
from registry.errors import VerificationError
from registry.kinds import Kind
from registry.note import Signer
from registry.root_chain import RootChain


class LogSigner:
    """The log keys that this primary holds, and the board that its log has.

    One thread changes the board; any may sign, and sees one board or the other.
    """

    def __init__(self, signers: Sequence[Signer], chain: RootChain) -> None:
        self._signers = {signer.public_key: signer for signer in signers}
        self.board = Board.begin(chain)

    @property
    def signers(self) -> list[Signer]:
        """The keys that are held, good or not."""
        return list(self._signers.values())

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.board.chain.name

    @property
    def chain(self) -> RootChain:
        """What says which checkpoints are signed."""
        return self.board.chain

    def restore(self, reader: Reader) -> None:
        """Takes the board from the log in the database.

        ConfigurationError: its roots do not follow from the one that is pinned.
        """
        records = [*reader.all_records(Kind.ROOT), *reader.all_records(Kind.DECISION)]
        entries = [(record.index, Entry.decode(record.entry)) for record in records]
        roots = [entry.payload for _, entry in entries if entry.kind == Kind.ROOT]
        try:
            self.board = Board.restore(self.board.chain.extend_all(roots), entries)
        except VerificationError as error:
            raise ConfigurationError(
                f"the board in the log does not follow from the root that is pinned: {error}"
            ) from error

    def has_key_at(self, size: int, chain: RootChain | None = None) -> bool:
        """Whether a log of this size can be signed, by this chain or the board's own."""
        return self._find(size, chain or self.chain) is not None

    def at(self, size: int) -> Signer:
        """The key for a log of this size, of several the one named last.

        ConfigurationError: none that is good there is on this machine.
        """
        signer = self._find(size, self.chain)
        if signer is None:
            raise ConfigurationError(
                f"no log key on this machine is good at size {size} by root {self.chain.version}"
            )
        return signer

    def _find(self, size: int, chain: RootChain) -> Signer | None:
        for key in reversed(chain.current.log_keys):
            if key.is_good_at(size) and key.verifier.public_key in self._signers:
                return self._signers[key.verifier.public_key]
        return None


def pin_root(path: Path, origin: str) -> RootChain:
    """The chain that begins with the root in a file; ConfigurationError if it cannot be used."""
    try:
        note = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        chain = RootChain.pin(note)
    except VerificationError as error:
        raise ConfigurationError(
            f"{path} is no root that its board signed ({error}): have the members sign it with "
            "'smtpnic board sign'"
        ) from error
    if chain.name != origin:
        raise ConfigurationError(f"{path} is the root of {chain.name}, not of {origin}")
    return chain
