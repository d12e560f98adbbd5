"""Boards for tests: members with keys of their own, roots and decisions that they sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import decision, root
from registry.board_text import BoardMember, SignedText
from registry.decision import Act, Decision
from registry.note import Cosigner, Signer
from registry.root import LogKey, Policies, Root
from registry.root_chain import RootChain
from registry.ssh_keys import (
    ECDSA_P256,
    ED25519,
    SK_ECDSA_P256,
    SK_ED25519,
    PrivateKey,
    SshKey,
    string,
)
from registry.ssh_keys import sign as ssh_sign
from registry.sshsig import SshSignature, signed_data
from secondary.roots import Roots
from tests.support.log_builder import ORIGIN, START_MS, LogBuilder

ISSUED_S = START_MS // 1000 - 1000
EXPIRES_S = ISSUED_S + 365 * root.DAY
APPLICATION = b"ssh:"


def private_key(name: str, algorithm: str = ED25519) -> PrivateKey:
    """The same key for the same name."""
    seed = sha256(f"board key of {name}".encode()).digest()
    if algorithm in (ED25519, SK_ED25519):
        return Ed25519PrivateKey.from_private_bytes(seed)
    return derive_private_key(int.from_bytes(seed, "big") >> 1, SECP256R1())


@dataclass(frozen=True)
class Signatory:
    """A member with the private key; of a token, all that the token does is done here."""

    name: str
    private: PrivateKey
    token: bool = False
    touched: bool = True
    application: bytes = APPLICATION

    @classmethod
    def named(cls, name: str, algorithm: str = ED25519) -> Signatory:
        """The member of this name."""
        token = algorithm in (SK_ED25519, SK_ECDSA_P256)
        return cls(name, private_key(name, algorithm), token)

    @property
    def member(self) -> BoardMember:
        """As a root names it."""
        key = SshKey.of(self.private)
        if self.token:
            kind = {ED25519: SK_ED25519, ECDSA_P256: SK_ECDSA_P256}[key.algorithm]
            body = key.blob[len(string(key.algorithm.encode())) :]
            key = SshKey(string(kind.encode()) + body + string(self.application))
        return BoardMember(self.name, key)

    def sign(self, text: str, namespace: str) -> SshSignature:
        """What `ssh-keygen -Y sign` would make."""
        key = self.member.key
        data = signed_data(text.encode(), namespace, "sha512")
        if not self.token:
            return SshSignature(key, namespace, "sha512", ssh_sign(self.private, data))
        tail = bytes([1 if self.touched else 0]) + (7).to_bytes(4, "big")
        signed = sha256(self.application).digest() + tail + sha256(data).digest()
        plain = ssh_sign(self.private, signed)
        body = plain[len(string(SshKey.of(self.private).algorithm.encode())) :]
        return SshSignature(key, namespace, "sha512", string(key.algorithm.encode()) + body + tail)


ALICE, BOB, CAROL, DAVE = map(Signatory.named, ("alice", "bob", "carol", "dave"))
LOG_SIGNER = Signer(ORIGIN, sha256(f"log key of {ORIGIN}".encode()).digest())
NEXT_SIGNER = Signer(ORIGIN, sha256(b"the next log key").digest())
COSIGNER = Cosigner(ORIGIN, sha256(f"freshness key of {ORIGIN}".encode()).digest())


def first_root(**changes: Any) -> Root:
    """Version 1, by two of alice, bob and carol."""
    made = Root(
        ORIGIN,
        1,
        b"",
        ISSUED_S,
        EXPIRES_S,
        2,
        (ALICE.member, BOB.member, CAROL.member),
        (LogKey(LOG_SIGNER.verifier()),),
        (),
        (COSIGNER.verifier(),),
        (bytes(32),),
        Policies(),
    )
    return replace(made, **changes)


def next_root(before: Root, **changes: Any) -> Root:
    """The version after."""
    following: dict[str, Any] = {"version": before.version + 1, "previous": before.digest()}
    return replace(before, **(following | changes))


def signed(text: str, namespace: str, signatories: Iterable[Signatory]) -> bytes:
    """The text with their signatures."""
    document = SignedText(text)
    for each in signatories:
        document = document.with_signature(each.member, each.sign(text, namespace))
    return document.encode()


def sign_root(made: Root, *signatories: Signatory) -> bytes:
    """The root with their signatures; without any, alice's and bob's."""
    return signed(made.text(), root.NAMESPACE, signatories or (ALICE, BOB))


def sign_decision(made: Decision, *signatories: Signatory) -> bytes:
    """The same of a decision."""
    return signed(made.text(), decision.NAMESPACE, signatories or (ALICE, BOB))


def a_decision(act: Act, **changes: Any) -> Decision:
    """A decision under the first root, while it is open."""
    now_s = START_MS // 1000
    made = Decision(ORIGIN, 1, now_s, now_s + 14 * root.DAY, act, "three complaints unanswered")
    return replace(made, **changes)


def a_chain(*notes: bytes) -> RootChain:
    """The first root, and what follows."""
    return RootChain.pin(sign_root(first_root())).extend_all(notes)


def chain_of(
    signer: Signer, cosigner: Cosigner = COSIGNER, authority: bytes = bytes(32)
) -> RootChain:
    """A board of alice alone, whose log has these keys, and nodes this authority."""
    made = first_root(
        origin=signer.name,
        threshold=1,
        board=(ALICE.member,),
        log_keys=(LogKey(signer.verifier()),),
        freshness_keys=(cosigner.verifier(),),
        authorities=(authority,),
    )
    return RootChain.pin(sign_root(made, ALICE))


def roots_of(log: LogBuilder) -> Roots:
    """What a secondary of the builder's log begins to trust with."""
    return Roots(chain_of(log.signer, log.cosigner))


def pin_file(log: LogBuilder, directory: Path, authority: bytes = bytes(32)) -> Path:
    """The same as a file."""
    path = directory / "root.note"
    path.write_bytes(chain_of(log.signer, log.cosigner, authority).notes[0])
    return path
