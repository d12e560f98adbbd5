"""What the board's roots and decisions in the log come to: who holds, what is suspended.

Both sides keep one `Board` beside the log and move it on entry by entry, so that an entry which
needs the board's consent is refused by everybody who replays the log (nobody suspends alone).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from registry.address import Address
from registry.board_text import SignedText
from registry.decision import (
    NAMESPACE,
    Admit,
    Decision,
    ExtendStaleness,
    OfHolder,
    OfPrefix,
    OfRegistration,
    Remove,
    Restore,
    SetLapses,
    SetPolicy,
    Suspend,
    Target,
)
from registry.entry import Entry
from registry.errors import BoardError, LimitError
from registry.kinds import Kind, Operation, Status
from registry.limits import ROOT_KEY_BYTES
from registry.member import member_name
from registry.registration import Registration, outline_registration
from registry.root import Policies
from registry.root_chain import RootChain, SignedRoot

# What a follower reads before it opens its replica.
MAX_SUSPENSIONS: Final = 10_000
# Every registration that is put is held against each of them.
MAX_SUSPENDED_PREFIXES: Final = 256


@dataclass(frozen=True, slots=True)
class SignedDecision:
    """A decision, and the bytes that it was signed in."""

    decision: Decision
    note: bytes

    @classmethod
    def decode(cls, note: bytes) -> SignedDecision:
        """The decision in a file; who signed it is for the board to say. MalformedError."""
        return cls(Decision.parse(SignedText.parse(note).text), note)


@dataclass(frozen=True, slots=True)
class Board:
    """The board as the log has it at one place; replaced as a whole.

    `chain` may be further than the log is here; `version` is that of the newest root in the log,
    0 before the first. `suspensions` are the decisions that hold, by what they suspend; `mirrors`
    are those admitted; `policies` are the root's with what was decided since; `stale_after_s` is
    the time, in seconds since 1970, until which staleness was extended, 0 if it was not; `lapses`
    is what was decided last about them. `removals` says when mirrors were removed last, in
    milliseconds since 1970; one that was admitted again has it still: it has to join anew first.
    """

    chain: RootChain
    version: int = 0
    suspensions: Mapping[Target, SignedDecision] = field(default_factory=dict)
    mirrors: frozenset[str] = frozenset()
    policies: Policies = field(default_factory=Policies)
    stale_after_s: int = 0
    lapses: SetLapses | None = None
    removals: Mapping[str, int] = field(default_factory=dict)
    _prefixes: tuple[OfPrefix, ...] = ()

    @classmethod
    def begin(cls, chain: RootChain) -> Board:
        """Nothing is decided yet."""
        return cls(chain, policies=chain.current.policies)

    @classmethod
    def restore(cls, chain: RootChain, entries: Iterable[tuple[int, Entry]]) -> Board:
        """The board after these entries of a log, each with its index, of whatever kinds.

        They were verified when they came, or the state root covers them: of the decisions, only
        the signatures are looked at again. Errors as of `RootChain.extend` and `SignedText.check`.
        """
        board = cls.begin(chain)
        for _, entry in sorted(entries, key=lambda each: each[0]):
            if entry.kind == Kind.ROOT:
                board = board.with_root(entry)
            elif entry.kind == Kind.DECISION:
                signed = SignedDecision.decode(entry.payload)
                board.check_signatures(signed)
                board = board.with_decision(signed, entry.time_ms)
        return board

    def after(self, entry: Entry) -> Board:
        """The board after an entry of the log, and nothing changed if it is no concern of it.

        BoardError, ThresholdError or another VerificationError: the entry may not be there.
        """
        if entry.kind == Kind.REGISTRATION:
            if entry.operation == Operation.PUT and self._concerns(entry.payload):
                self.check_registration(Address(entry.key), Registration.decode(entry.payload))
            return self
        if entry.kind == Kind.MEMBER:
            self.check_member(entry)
            return self
        if entry.kind not in (Kind.ROOT, Kind.DECISION):
            return self
        if entry.operation != Operation.PUT:
            raise BoardError("roots and decisions are never deleted")
        if entry.kind == Kind.ROOT:
            return self.with_root(entry)
        signed = SignedDecision.decode(entry.payload)
        self.check_decision(signed, entry.time_ms / 1000)
        if entry.key != signed.decision.identifier:
            raise BoardError("a decision under the name of another")
        return self.with_decision(signed, entry.time_ms)

    def with_chain(self, chain: RootChain) -> Board:
        """With a chain that was extended elsewhere: its roots hold for checkpoints at once."""
        return replace(self, chain=chain)

    def with_root(self, entry: Entry) -> Board:
        """With the root in an entry; errors as of `RootChain.extend`, and BoardError for a gap."""
        root = SignedRoot.decode(entry.payload).root
        if entry.key != root_key(root.version):
            raise BoardError(f"root {root.version} under the name of another")
        if root.version != self.version + 1:
            raise BoardError(f"root {root.version} in the log after root {self.version}")
        chain = self.chain.extend(entry.payload)
        return replace(self, chain=chain, version=root.version, policies=root.policies)

    def check_decision(self, signed: SignedDecision, now_s: float) -> None:
        """Check that the decision may be taken at this time, in seconds since 1970.

        Errors as of `check_sense`. ThresholdError: too few signed. SignatureError,
        MalformedError: a signature is false.
        """
        self.check_sense(signed.decision, now_s)
        self.check_signatures(signed)

    def check_sense(self, decision: Decision, now_s: float) -> None:
        """Check that a decision, if it were signed, might be taken at this time.

        BoardError: made under another root, expired, or without sense now.
        """
        if decision.origin != self.chain.name:
            raise BoardError(f"a decision about {decision.origin}, not about {self.chain.name}")
        if decision.root_version != self.version:
            raise BoardError(
                f"decided under root {decision.root_version}, but root {self.version} holds: "
                "propose it anew"
            )
        if now_s >= decision.expires_s:
            raise BoardError("the proposal has expired: propose it anew")
        root = self.chain.version_at(self.version)
        if root is None or now_s >= root.expires_s:
            raise BoardError("the root has expired: sign the next one before anything else")
        self._check_act(decision)

    def check_signatures(self, signed: SignedDecision) -> None:
        """Check that a threshold of the board that it names signed a decision."""
        root = self.chain.version_at(signed.decision.root_version)
        if root is None:
            raise BoardError(f"decided under root {signed.decision.root_version}, which is unknown")
        SignedText.parse(signed.note).check(root.board, root.threshold, NAMESPACE)

    def with_decision(self, signed: SignedDecision, time_ms: int) -> Board:
        """After a decision that was checked, of an entry of this time."""
        match signed.decision.act:
            case Suspend(target):
                return self._suspending({**self.suspensions, target: signed})
            case Restore(target):
                left = {each: by for each, by in self.suspensions.items() if each != target}
                return self._suspending(left)
            case Admit(mirror):
                return replace(self, mirrors=self.mirrors | {mirror})
            case Remove(mirror):
                removals = MappingProxyType({**self.removals, mirror: time_ms})
                return replace(self, mirrors=self.mirrors - {mirror}, removals=removals)
            case act:
                return self._ruling(act)

    def lapses_at(self, now_s: float) -> SetLapses | None:
        """What the board has decided about lapses for this time; None: the usual limit holds."""
        return self.lapses if self.lapses is not None and now_s < self.lapses.until_s else None

    def suspension(self, address: Address, holder_id: bytes) -> SignedDecision | None:
        """The decision that suspends a registration; None if none does."""
        targets: list[Target] = [OfRegistration(address), OfHolder(holder_id), *self._prefixes]
        for target in targets:
            if target.covers(address, holder_id) and target in self.suspensions:
                return self.suspensions[target]
        return None

    def check_registration(self, address: Address, registration: Registration) -> None:
        """BoardError unless it is suspended just when the board has decided so."""
        is_suspended = registration.status is Status.SUSPENDED
        if not is_suspended and not self.suspensions:
            return
        decided = self.suspension(address, registration.holder_id)
        if is_suspended and decided is None:
            raise BoardError(f"{address} is suspended without a decision of the board")
        if not is_suspended and decided is not None:
            raise BoardError(f"{address} is put, though the board has suspended it")

    def check_member(self, entry: Entry) -> None:
        """BoardError if a mirror is put that the board has not admitted."""
        if entry.operation == Operation.PUT and member_name(entry.key) not in self.mirrors:
            raise BoardError(f"{member_name(entry.key)} is a member without the board's admission")

    def _ruling(self, act: SetPolicy | ExtendStaleness | SetLapses) -> Board:
        match act:
            case SetPolicy(name, value):
                return replace(self, policies=self.policies.having(name, value))
            case ExtendStaleness(until_s):
                return replace(self, stale_after_s=max(self.stale_after_s, until_s))
            case SetLapses():
                return replace(self, lapses=act)

    def _concerns(self, payload: bytes) -> bool:
        """Whether a registration has to be looked at; most of the time none has."""
        return bool(self.suspensions) or outline_registration(payload)[0] == Status.SUSPENDED

    def _suspending(self, suspensions: dict[Target, SignedDecision]) -> Board:
        prefixes = tuple(target for target in suspensions if isinstance(target, OfPrefix))
        return replace(self, suspensions=MappingProxyType(suspensions), _prefixes=prefixes)

    def _check_act(self, decision: Decision) -> None:
        match decision.act:
            case Suspend(target) if target in self.suspensions:
                raise BoardError("it is suspended already")
            case Suspend(OfPrefix()) if len(self._prefixes) >= MAX_SUSPENDED_PREFIXES:
                raise LimitError(f"{MAX_SUSPENDED_PREFIXES} suspended networks are enough")
            case Suspend() if len(self.suspensions) >= MAX_SUSPENSIONS:
                raise LimitError(f"{MAX_SUSPENSIONS} suspensions are enough")
            case Restore(target) if target not in self.suspensions:
                raise BoardError("it is not suspended: restore what a decision has suspended")
            case Admit(mirror) if mirror in self.mirrors:
                raise BoardError(f"{mirror} is admitted already")


def root_key(version: int) -> bytes:
    """The key of a root's entry: its version."""
    return version.to_bytes(ROOT_KEY_BYTES, "big")
