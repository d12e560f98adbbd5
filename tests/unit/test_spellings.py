"""The search that shows what was erased finds it, however it is written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.spellings import places_of

SECRET = "Quoxälind Perthwick, 1 Zetterby"
RAW = SECRET.encode()


@pytest.mark.parametrize(
    "data",
    [
        RAW,
        RAW.hex().encode(),
        RAW.hex().upper().encode(),
        SECRET.encode("utf-16"),
        SECRET.encode("utf-16-be"),
        SECRET.encode("latin-1"),
        SECRET.upper().casefold().encode(),
        json.dumps({"name": SECRET}).encode(),
        repr(RAW).encode(),
        rb"name: Quox\303\244lind Perthwick, 1 Zetterby",
        quote(f"/{SECRET}").encode(),
        b"Quox&#228;lind Perthwick, 1 Zetterby",
    ],
)
def test_each_spelling_is_found(data: bytes) -> None:
    """In the midst of others, and behind what is empty."""
    places = {"here": bytes(4096) + b"<" + data + b">" + bytes(4096), "there": b"nothing"}
    assert {place for place, _ in places_of([SECRET], places)} == {"here"}


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_base64_is_found_wherever_it_begins(before: bytes, behind: bytes) -> None:
    """In either alphabet."""
    data = before + RAW + behind
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert places_of([RAW], {"here": encode(data)})


def test_what_is_not_there_is_not_found() -> None:
    """Neither a part of it, nor what is like it."""
    assert places_of([SECRET], {"here": RAW[:-1] + b" Quoxalind"}) == []
