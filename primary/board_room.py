"""Where signatures come together: a text that enough have signed enters the log, and is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.logging import get_logger
from node.workers import Workers
from primary.board_changes import Align, BoardChange, Enact, PublishRoot
from primary.intake import Intake
from primary.log_signer import LogSigner
from primary.proposals import Proposals
from primary.store.reader import Reader
from registry import decision, root
from registry.address import Address
from registry.board import Board, SignedDecision
from registry.board_text import BoardMember, SignedText
from registry.decision import OfHolder, OfPrefix, OfRegistration, Restore, Suspend, Target
from registry.entry import Entry
from registry.errors import LimitError, Problem, VerificationError
from registry.kinds import Kind
from registry.limits import MAX_CHANGES_PER_BATCH
from registry.root_chain import SignedRoot
from registry.sshsig import SshSignature

# One batch after another, so that registrations come in between.
ALIGNED_AT_ONCE: Final = MAX_CHANGES_PER_BATCH

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
        *,
        reader: Reader,
        pool: Workers,
    ) -> None:
        self._signer = signer
        self._proposals = proposals
        self._intake = intake
        self._reader = reader
        self._pool = pool
        # One text at a time: a signature must not be lost between two.
        self._lock = asyncio.Lock()

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

    async def align_all(self) -> None:
        """Does what an earlier decision ordered, and a crash may have left undone."""
        records = await self._pool.run(self._reader.all_records, Kind.DECISION)
        for record in records:
            signed = SignedDecision.decode(Entry.decode(record.entry).payload)
            await self._align(signed)

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
        return await self._enter(standing, change(known.encode()))

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
            await self._align(SignedDecision.decode(change.note))
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

    async def _align(self, signed: SignedDecision) -> None:
        act = signed.decision.act
        if not isinstance(act, Suspend | Restore):
            return
        after: bytes | None = None
        while addresses := await self._pool.run(_addresses, self._reader, act.target, after):
            await self._intake.submit([Align(each) for each in addresses])
            after = addresses[-1].packed


def _addresses(reader: Reader, target: Target, after: bytes | None) -> list[Address]:
    """Some registrations that are meant, behind an address, in their order."""
    if isinstance(target, OfRegistration):
        return [target.address] if after is None else []
    holder = target.holder_id if isinstance(target, OfHolder) else None
    found = []
    first = _before(target) if after is None else after
    for address in _listed(reader, first, holder):
        if isinstance(target, OfPrefix) and not target.covers(address, b""):
            # Addresses of both families stand among each other, in the order of their bytes.
            if address.packed > target.network.broadcast_address.packed:
                break
            continue
        found.append(address)
        if len(found) == ALIGNED_AT_ONCE:
            break
    return found


def _listed(reader: Reader, after: bytes | None, holder: bytes | None) -> Iterator[Address]:
    while some := reader.list_registrations(after, ALIGNED_AT_ONCE, holder):
        for record in some:
            after = Entry.decode(record.entry).key
            yield Address(after)


def _before(target: Target) -> bytes | None:
    """A key behind which every address of a network stands, and little else."""
    if not isinstance(target, OfPrefix):
        return None
    first = target.network.network_address.packed
    number = int.from_bytes(first, "big")
    return (number - 1).to_bytes(len(first), "big") if number else None


def _is_root(text: str) -> bool:
    return text.startswith("smtpnic-root ")


def _namespace(text: str) -> str:
    return root.NAMESPACE if _is_root(text) else decision.NAMESPACE


def _change_of(text: str) -> type[PublishRoot] | type[Enact]:
    return PublishRoot if _is_root(text) else Enact
