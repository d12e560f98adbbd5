"""Where signatures come together: a text that enough have signed enters the log, and is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from node.logging import get_logger
from node.workers import Workers
from primary.aligner import Aligner
from primary.board_changes import BoardChange, Enact, PublishRoot
from primary.intake import Intake
from primary.log_signer import LogSigner
from primary.proposals import Proposals
from primary.store.reader import Reader
from registry import decision, root
from registry.board import Board, SignedDecision
from registry.board_text import BoardMember, SignedText
from registry.decision import Act, Remove, Restore, Suspend
from registry.errors import LimitError, Problem, VerificationError
from registry.root_chain import SignedRoot
from registry.sshsig import SshSignature

_log = get_logger("board")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a text stands: who signed it of how many that have to, and its index in the log.

    `index` is None while it waits for more signatures.
    """

    text: SignedText
    signed: tuple[str, ...]
    threshold: int
    index: int | None = None
    checkpoint: bytes = b""


class BoardRoom:
    """Takes texts, keeps them until they are decided, and carries out what they order."""

    def __init__(
        self,
        signer: LogSigner,
        proposals: Proposals,
        intake: Intake,
        aligner: Aligner,
        *,
        reader: Reader,
        pool: Workers,
        on_removed: Callable[[str, int], Awaitable[None]],
    ) -> None:
        """`on_removed` hears which mirror the board removed, and when, in milliseconds."""
        self._signer = signer
        self._proposals = proposals
        self._intake = intake
        self._aligner = aligner
        self._reader = reader
        self._pool = pool
        self._on_removed = on_removed
        # One text at a time: a signature must not be lost between two.
        self._lock = asyncio.Lock()
        self._entering: asyncio.Task[Standing] | None = None

    @property
    def board(self) -> Board:
        """What is decided so far."""
        return self._signer.board

    async def submit(self, data: bytes, now_s: float) -> Standing:
        """Adds a text's signatures to those known; in the log, once they are enough.

        Problem "board": nobody of the board signed it, or it cannot be decided now. Errors of
        `Intake.submit`.
        """
        async with self._lock:
            if self._entering is not None:
                # Nobody may be waiting for it any more.
                await asyncio.wait([self._entering])
            try:
                return await self._submit(SignedText.parse(data), now_s)
            except VerificationError as error:
                raise Problem("board", str(error)) from error

    def open_proposals(self, now_s: float) -> list[SignedText]:
        """What waits for signatures; what expired, or was overtaken, is forgotten."""
        waiting = []
        for text in self._proposals.all():
            try:
                self._check_sense(text.text, now_s)
            except VerificationError:
                self._proposals.remove(text.text)
            else:
                waiting.append(text)
        return waiting

    async def _submit(self, given: SignedText, now_s: float) -> Standing:
        change = _change_of(given.text)
        self._check_sense(given.text, now_s)
        members = self._members(given.text)
        known = self._proposals.get(given.text)
        for line in given.signatures:
            signature = SshSignature.decode(line.value)
            member = next((m for m in members if m.key == signature.key), None)
            if member is not None:
                known = known.with_signature(member, signature)
        signers = known.signers(members, _namespace(given.text))
        # A root may name whom it likes: who is on no board yet counts only beside who is.
        if not set(signers) & set(self.board.chain.current.board):
            raise Problem("board", "nobody of the board has signed this")
        standing = Standing(
            known, tuple(member.name for member in signers), self.board.chain.current.threshold
        )
        if not self._is_enough(known):
            self._proposals.put(known)
            _log.info("proposal.signed", signed=standing.signed)
            return standing
        self._entering = asyncio.create_task(self._enter(standing, change(known.encode())))
        # Whoever stops waiting stops nothing of what was decided.
        return await asyncio.shield(self._entering)

    async def _enter(self, standing: Standing, change: BoardChange) -> Standing:
        if isinstance(change, PublishRoot):
            await self._check_keys(SignedRoot.decode(change.note))
        submitted = await self._intake.submit([change])
        (outcome,) = submitted.outcomes
        if isinstance(outcome, Problem):
            raise outcome
        self._proposals.remove(standing.text.text)
        _log.warning("board.decided", index=outcome, signed=standing.signed)
        if isinstance(change, Enact):
            await self._carry_out(SignedDecision.decode(change.note).decision.act)
        return Standing(
            standing.text, standing.signed, standing.threshold, outcome, submitted.checkpoint
        )

    def _check_sense(self, text: str, now_s: float) -> None:
        """VerificationError if the text could not be decided now, whoever signs it."""
        board = self.board
        if not _is_root(text):
            board.check_sense(decision.Decision.parse(text), now_s)
        elif root.Root.parse(text).version != board.chain.version + 1:
            raise LimitError(f"the next root has version {board.chain.version + 1}")

    async def _check_keys(self, signed: SignedRoot) -> None:
        """Problem "board" unless the log can go on under a root, and what was signed holds."""
        chain = self._signer.chain.extend(signed.note)
        size = (await self._pool.run(self._reader.head)).size
        if not self._signer.has_key_at(size + 1, chain):
            raise Problem("board", f"this primary has no log key for sizes from {size} on")
        if not any(key.is_good_at(size) for key in signed.root.log_keys):
            raise Problem("board", f"no log key of it is good at {size}, where the log stands")

    def _members(self, text: str) -> tuple[BoardMember, ...]:
        current = self.board.chain.current.board
        if not _is_root(text):
            return current
        new = [each for each in root.Root.parse(text).board if each not in current]
        return (*current, *new)

    def _is_enough(self, known: SignedText) -> bool:
        current = self.board.chain.current
        if not _is_root(known.text):
            boards = [(current.board, current.threshold)]
        else:
            new = root.Root.parse(known.text)
            boards = [(current.board, current.threshold), (new.board, new.threshold)]
        namespace = _namespace(known.text)
        return all(len(known.signers(each, namespace)) >= least for each, least in boards)

    async def _carry_out(self, act: Act) -> None:
        if isinstance(act, Remove):
            # As the log has it: who hands in an old decision again removes nobody who came back.
            await self._on_removed(act.mirror, self.board.removals[act.mirror])
        if isinstance(act, Suspend | Restore):
            await self._aligner.align(act.target)


def _is_root(text: str) -> bool:
    return text.startswith("smtpnic-root ")


def _namespace(text: str) -> str:
    return root.NAMESPACE if _is_root(text) else decision.NAMESPACE


def _change_of(text: str) -> type[PublishRoot] | type[Enact]:
    return PublishRoot if _is_root(text) else Enact
