"""Join tokens: one text each, and any other text is told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedError
from registry.join_token import MAX_TEXT_BYTES, PREFIX, SECRET_BYTES, JoinToken
from registry.limits import HASH_BYTES
from registry.node_name import is_node_name

texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
names = st.one_of(st.just(""), st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)).filter(
    lambda name: not name or is_node_name(name)
)
tokens = st.builds(
    JoinToken,
    texts,
    texts,
    st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    names,
)
TOKEN = JoinToken("smtpnic.org", "primary.smtpnic.org:7441", bytes(32), bytes(16), "zurich-1")


@given(tokens)
def test_a_token_says_what_it_was_made_of(token: JoinToken) -> None:
    """Its text parses to it, whatever it says, and fits in a line of mail that is not wrapped."""
    assert token == JoinToken.parse(token.encode())


@given(tokens, st.data())
def test_copying_may_wrap_and_capitalise(token: JoinToken, data: st.DataObject) -> None:
    """White space within and around, and letter case, change nothing."""
    text = token.encode()
    at = data.draw(st.integers(0, len(text)))

    assert token == JoinToken.parse(f"  {text[:at]}\r\n\t{text[at:].upper()} \n")


@given(tokens, st.data())
def test_a_slip_is_noticed(token: JoinToken, data: st.DataObject) -> None:
    """A character that is missing, or another, is never another token."""
    text = token.encode()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(text[at].__ne__))

    for slip in (text[:at] + text[at + 1 :], text[:at] + other + text[at + 1 :]):
        with pytest.raises(MalformedError):
            JoinToken.parse(slip)


@given(st.one_of(st.text(), st.text("abcdefghijklmnopqrstuvwxyz234567").map(PREFIX.__add__)))
def test_any_text_is_a_token_or_a_typed_error(text: str) -> None:
    """Whatever was pasted: a token whose form it is, or MalformedError."""
    try:
        token = JoinToken.parse(text)
    except MalformedError:
        return
    assert token.encode() == "".join(text.split()).lower()


def test_errors_help() -> None:
    """What was pasted in part, and what is no token at all, are told apart."""
    with pytest.raises(MalformedError, match="is not whole: copy all of it"):
        JoinToken.parse(TOKEN.encode()[:-3])
    with pytest.raises(MalformedError, match=f"one begins with {PREFIX}"):
        JoinToken.parse("hello")


def test_a_token_is_short() -> None:
    """As the usual registry makes it, it fits on two lines of a terminal."""
    assert len(TOKEN.encode()) < 176


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": ""},
        {"origin": "a" * (MAX_TEXT_BYTES + 1)},
        {"address": "zürich:1"},
        {"authority": b""},
        {"secret": b"short"},
        {"name": "Zurich"},
        {"name": "freshness"},
    ],
)
def test_what_no_token_can_say_cannot_be_made(wrong: dict[str, Any]) -> None:
    """A wrong value cannot exist."""
    with pytest.raises(MalformedError):
        replace(TOKEN, **wrong)
