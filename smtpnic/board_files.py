"""The board's texts in files: read, judged, and put together with signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigurationError
from node.files import write_atomic
from registry import decision, root
from registry.board_text import BoardMember, SignedText
from registry.decision import Decision
from registry.errors import MalformedError, Problem
from registry.root import Root
from registry.root_chain import RootChain
from registry.sshsig import SshSignature

PUBLIC_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Document:
    """A root or a decision with the signatures on it. MalformedError if it is neither."""

    signed: SignedText
    content: Root | Decision

    @classmethod
    def decode(cls, data: bytes) -> Document:
        """The document in these bytes."""
        signed = SignedText.parse(data)
        is_root = signed.text.startswith("smtpnic-root ")
        return cls(signed, (Root if is_root else Decision).parse(signed.text))

    @property
    def namespace(self) -> str:
        """What it is signed for."""
        return root.NAMESPACE if isinstance(self.content, Root) else decision.NAMESPACE

    def boards(self, chain: RootChain | None) -> list[tuple[Sequence[BoardMember], int]]:
        """Who has to sign, and how many of them: of a root, the old board and its own.

        ConfigurationError: that cannot be known without a root.
        """
        if isinstance(self.content, Root):
            boards: list[tuple[Sequence[BoardMember], int]] = []
            if self.content.version > 1:
                before = _require(chain, "the root before").version_at(self.content.version - 1)
                boards.append(_board(before, self.content.version - 1))
            return [*boards, (self.content.board, self.content.threshold)]
        version = self.content.root_version
        return [_board(_require(chain, "a root").version_at(version), version)]

    def members(self, chain: RootChain | None) -> list[BoardMember]:
        """Everybody whose signature counts for something."""
        found: dict[bytes, BoardMember] = {}
        for board, _ in self.boards(chain):
            for member in board:
                found.setdefault(member.key.point, member)
        return list(found.values())

    def with_signature(self, signature: SshSignature, members: Sequence[BoardMember]) -> Document:
        """With a signature; Problem "board" if it is nobody's, or of something else."""
        member = next((each for each in members if each.key == signature.key), None)
        if member is None:
            names = ", ".join(each.name for each in members)
            raise Problem(
                "board", f"the key {signature.key.fingerprint()} is none of the board's ({names})"
            )
        signature.verify(self.signed.text.encode(), self.namespace)
        return Document(self.signed.with_signature(member, signature), self.content)

    def standing(self, chain: RootChain | None) -> list[tuple[list[str], int, int]]:
        """For each board that has to sign: who did, how many have to, of how many."""
        return [
            (
                [member.name for member in self.signed.signers(board, self.namespace)],
                threshold,
                len(board),
            )
            for board, threshold in self.boards(chain)
        ]

    def is_signed(self, chain: RootChain | None) -> bool:
        """Whether enough have signed."""
        return all(len(signed) >= threshold for signed, threshold, _ in self.standing(chain))


def read_document(path: Path) -> Document:
    """The document in a file; ConfigurationError if there is none."""
    try:
        return Document.decode(path.read_bytes())
    except (OSError, MalformedError) as error:
        raise ConfigurationError(f"{path} is no root and no decision: {error}") from error


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that was not there; ConfigurationError if it was."""
    if path.exists():
        raise ConfigurationError(f"{path} exists: choose another name")
    write_atomic(path, data, PUBLIC_MODE)


def _require(chain: RootChain | None, what: str) -> RootChain:
    if chain is None:
        raise ConfigurationError(f"give {what}: --root FILE")
    return chain


def _board(found: Root | None, version: int) -> tuple[Sequence[BoardMember], int]:
    if found is None:
        raise ConfigurationError(f"root {version} is not known here: give it with --root FILE")
    return found.board, found.threshold
