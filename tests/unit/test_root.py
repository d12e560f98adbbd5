"""The root of trust: its text, and the chain of its versions by the rules of TUF."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.board_text import BoardMember, SignedText, format_time, parse_time
from registry.checkpoint import Checkpoint, cosign, freshness_time, open_checkpoint, sign_checkpoint
from registry.errors import (
    BoardError,
    MalformedError,
    RetiredKeyError,
    RootMismatchError,
    SignatureError,
    ThresholdError,
)
from registry.note import Cosigner, Signer, UnverifiedNote
from registry.root import DAY, NAMESPACE, Anchor, LogKey, Policies, Root, Validity
from registry.root_chain import RootChain
from registry.ssh_keys import ECDSA_P256, SK_ED25519
from tests.support.boards import (
    ALICE,
    BOB,
    CAROL,
    COSIGNER,
    DAVE,
    EXPIRES_S,
    ISSUED_S,
    LOG_SIGNER,
    NEXT_SIGNER,
    Signatory,
    a_chain,
    first_root,
    next_root,
    sign_root,
    signed,
)
from tests.support.log_builder import ORIGIN

FIRST = first_root()


def checkpoint(size: int, signer: Signer, root: bytes = bytes(32)) -> bytes:
    """A signed checkpoint."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, root), signer)


def test_the_text_has_one_form() -> None:
    """A root comes back from its text, and no other spelling of it is taken."""
    made = first_root(
        log_keys=(LogKey(LOG_SIGNER.verifier(), 0, 7), LogKey(NEXT_SIGNER.verifier(), 3)),
        anchors=(Anchor(7, bytes(range(32))),),
        policies=Policies(registrations_per_holder=5),
    )
    text = made.text()
    assert Root.parse(text) == made
    for other in (text + "\n", text[:-1], text.replace("version 1", "version 01"), " " + text):
        with pytest.raises(MalformedError):
            Root.parse(other)


def test_quotas_stand_in_the_text_where_the_board_has_set_them() -> None:
    """A root without them is one from before there were any, byte by byte."""
    plain = first_root().text()
    assert [line for line in plain.splitlines() if line.startswith("policy")] == [
        "policy staleness-seconds 1209600",
        f"policy reverification-seconds {DAY}",
        "policy registrations-per-holder 0",
    ]
    made = first_root(policies=Policies(registrations_per_ipv6_64=4))
    assert made.text() == f"{plain}policy registrations-per-ipv6-64 4\n"
    assert Root.parse(made.text()) == made
    with pytest.raises(MalformedError):
        Root.parse(f"{plain}policy registrations-per-ipv6-64 0\n")


@given(text=st.text(max_size=200), at=st.integers(0, 2000), character=st.characters())
def test_any_text_is_a_root_or_malformed(text: str, at: int, character: str) -> None:
    """Whatever is changed in a root's text, it is malformed or says something else."""
    whole = FIRST.text()
    at %= len(whole)
    for candidate in (text, whole[:at] + character + whole[at + 1 :]):
        try:
            parsed = Root.parse(candidate)
        except MalformedError:
            continue
        assert parsed.text() == candidate


@given(seconds=st.integers(0, 253_402_300_799))
def test_times(seconds: int) -> None:
    """Every second until the year 10000 is written in one way."""
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0},
        {"threshold": 4},
        {"board": ()},
        {"board": (ALICE.member, BoardMember("second", ALICE.member.key))},
        {"board": (ALICE.member, BoardMember("alice", BOB.member.key))},
        {"board": (ALICE.member, replace(ALICE, name="token", token=True).member)},
        {"log_keys": ()},
        {"log_keys": (LogKey(LOG_SIGNER.verifier()), LogKey(LOG_SIGNER.verifier(), 5))},
        {"log_keys": (LogKey(Signer.generate("other.example").verifier()),)},
        {"expires_s": ISSUED_S},
        {"version": 2},
        {"previous": bytes(32)},
        {"authorities": (b"short",)},
        {"anchors": (Anchor(5, bytes(32)), Anchor(4, bytes(32)))},
    ],
)
def test_what_cannot_be_a_root(changes: dict[str, Any]) -> None:
    """One key twice, be it under two names or in two guises, and everything else that is wrong."""
    with pytest.raises(MalformedError):
        first_root(**{"threshold": 1, **changes})


def test_the_chain_goes_on_with_both_boards() -> None:
    """A new board holds once a threshold of the old and of its own keys signed."""
    second = next_root(FIRST, board=(ALICE.member, CAROL.member, DAVE.member))
    chain = a_chain(sign_root(second, ALICE, CAROL))
    assert chain.current == second
    third = next_root(second, board=(DAVE.member,), threshold=1)
    assert chain.extend(sign_root(third, CAROL, DAVE)).current == third


def test_too_few() -> None:
    """One signature of two is too few: of the old board, and of the new."""
    with pytest.raises(ThresholdError):
        a_chain(sign_root(next_root(FIRST), ALICE))
    replaced = next_root(FIRST, board=(DAVE.member, ALICE.member))
    with pytest.raises(ThresholdError):
        a_chain(sign_root(replaced, ALICE, BOB))
    with pytest.raises(ThresholdError):
        a_chain(sign_root(replaced, ALICE, DAVE))


def test_one_key_twice() -> None:
    """Two signatures of one key are one, under whatever names they come."""
    second = next_root(FIRST)
    text = second.text()
    twice = SignedText(text)
    for name in ("alice", "bob"):
        twice = twice.with_signature(
            BoardMember(name, ALICE.member.key), ALICE.sign(text, NAMESPACE)
        )
    assert len(twice.signatures) == 2
    with pytest.raises(ThresholdError):
        a_chain(twice.encode())


def test_one_key_as_a_token_and_as_a_file() -> None:
    """The same key in another guise is not another key."""
    second = next_root(FIRST)
    guised = replace(ALICE, token=True)
    with pytest.raises(SignatureError):
        a_chain(sign_root(second, ALICE, guised))


def test_a_wrong_threshold() -> None:
    """A new root cannot lower the threshold by itself: the old one's counts too."""
    with pytest.raises(ThresholdError):
        a_chain(sign_root(next_root(FIRST, threshold=1), ALICE))


def test_a_gap_and_a_way_back() -> None:
    """Versions follow one another, and none is followed by another of its own number."""
    second = next_root(FIRST)
    third = next_root(second)
    with pytest.raises(BoardError, match="gap"):
        a_chain(sign_root(third))
    chain = a_chain(sign_root(second), sign_root(third))
    assert chain.extend(sign_root(second)) == chain
    with pytest.raises(BoardError, match="two roots"):
        chain.extend(sign_root(next_root(FIRST, threshold=1)))
    with pytest.raises(BoardError, match="another root"):
        a_chain(sign_root(replace(second, previous=bytes(32))))
    with pytest.raises(BoardError):
        a_chain(
            sign_root(
                replace(
                    second,
                    origin="other.example",
                    log_keys=(LogKey(Signer.generate("other.example").verifier()),),
                )
            )
        )


def test_a_signature_for_another_purpose() -> None:
    """A decision's signature does not sign a root."""
    note = signed(next_root(FIRST).text(), "smtpnic-decision", (ALICE, BOB))
    with pytest.raises(SignatureError):
        a_chain(note)


def test_what_is_pinned_is_signed() -> None:
    """A root that its own board did not sign is not pinned."""
    with pytest.raises(ThresholdError):
        RootChain.pin(FIRST.text().encode())


def test_older_roots_are_known_by_their_hash() -> None:
    """Who pins version 3 takes versions 2 and 1 for what they are, and nothing else for them."""
    second = next_root(FIRST)
    third = next_root(second)
    chain = RootChain.pin(sign_root(third))
    whole = chain.extend_all([sign_root(FIRST), sign_root(second)])
    assert [1, 2, 3] == [each.root.version for each in whole.roots]
    with pytest.raises(BoardError):
        chain.extend(sign_root(replace(second, threshold=1)))


def test_every_kind_of_key_counts() -> None:
    """A board of files and tokens, Ed25519 and ECDSA."""
    board = [Signatory.named("e", ECDSA_P256), Signatory.named("t", SK_ED25519)]
    made = first_root(board=tuple(each.member for each in board))
    assert RootChain.pin(sign_root(made, *board)).current == made


def test_expiry_comes_in_steps() -> None:
    """Good, then due in the last seventh, then expired; the chain is followed all the same."""
    at = [ISSUED_S, EXPIRES_S - (EXPIRES_S - ISSUED_S) // 7 + 1, EXPIRES_S]
    assert [Validity.GOOD, Validity.DUE, Validity.EXPIRED] == [FIRST.validity(s) for s in at]
    late = next_root(FIRST, issued_s=EXPIRES_S + DAY, expires_s=EXPIRES_S + 9 * DAY)
    assert a_chain(sign_root(late)).current == late


def test_a_stolen_log_key_is_rotated_out() -> None:
    """What it signed until then holds; what it signs at a later size has an error of its own."""
    second = next_root(
        FIRST,
        log_keys=(LogKey(LOG_SIGNER.verifier(), 0, 10), LogKey(NEXT_SIGNER.verifier())),
        anchors=(Anchor(10, b"\x01" * 32),),
    )
    chain = a_chain(sign_root(second))
    for size, signer in ((9, LOG_SIGNER), (9, NEXT_SIGNER), (11, NEXT_SIGNER)):
        assert open_checkpoint(checkpoint(size, signer), chain).size == size
    with pytest.raises(RetiredKeyError):
        open_checkpoint(checkpoint(11, LOG_SIGNER), chain)
    with pytest.raises(RootMismatchError):
        open_checkpoint(checkpoint(10, LOG_SIGNER), chain)
    with pytest.raises(SignatureError, match="no signature"):
        open_checkpoint(checkpoint(9, Signer.generate(ORIGIN)), chain)
    left_out = next_root(second, log_keys=(LogKey(NEXT_SIGNER.verifier()),), anchors=())
    chain = chain.extend(sign_root(left_out))
    with pytest.raises(RetiredKeyError):
        open_checkpoint(checkpoint(5, LOG_SIGNER), chain)


def test_freshness_by_the_key_of_the_root() -> None:
    """A cosignature counts if the root names its key."""
    note = checkpoint(3, LOG_SIGNER)
    chain = a_chain()
    assert freshness_time(cosign(note, COSIGNER, 17), chain) == 17
    with pytest.raises(SignatureError):
        freshness_time(cosign(note, Cosigner.generate("someone"), 17), chain)


def test_signatures_of_strangers_are_dropped() -> None:
    """What goes into the log holds the signatures of the boards only."""
    text = SignedText.parse(sign_root(next_root(FIRST), ALICE, BOB, DAVE))
    assert len(text.only([FIRST.board]).signatures) == 2
    assert UnverifiedNote.parse(text.only([FIRST.board]).encode()).text == text.text
