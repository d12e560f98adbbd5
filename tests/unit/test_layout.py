"""The names of the keys in etcd, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.entry import state_key
from registry.kinds import Kind
from secondary import layout
from secondary.layout import Layout, NewerReplicaError, Place, Section, parse_number

LAYOUT = Layout("/smtpnic")
GENERATION = LAYOUT.generation(7)

state_keys = st.one_of(
    st.binary(min_size=4, max_size=4).map(lambda key: state_key(Kind.REGISTRATION, key)),
    st.binary(min_size=16, max_size=16).map(lambda key: state_key(Kind.REGISTRATION, key)),
    st.binary(min_size=16, max_size=16).map(lambda key: state_key(Kind.HOLDER, key)),
    st.builds(state_key, st.integers(3, 255), st.binary(min_size=1, max_size=255)),
)


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        (Kind.REGISTRATION, bytes([192, 0, 2, 36]), b"/smtpnic/g7/r/4/c0000224"),
        (Kind.REGISTRATION, bytes(15) + b"\1", b"/smtpnic/g7/r/6/" + b"0" * 31 + b"1"),
        (Kind.HOLDER, b"\xab" * 16, b"/smtpnic/g7/h/" + b"ab" * 16),
        (Kind.ROOT, b"\1", b"/smtpnic/g7/k/4/01"),
    ],
)
def test_record_keys(kind: Kind, key: bytes, expected: bytes) -> None:
    """A record's key reads as the layout says."""
    assert expected == GENERATION.record(state_key(kind, key))


def name_of(place: Place) -> bytes:
    """The key that has this place."""
    match place.section:
        case Section.RECORD:
            return GENERATION.record(place.state_key)
        case Section.OPENINGS:
            return GENERATION.openings(place.state_key)
        case Section.CURSOR:
            return GENERATION.cursor
        case Section.CLAIM:
            return GENERATION.claim


@given(state_keys)
def test_a_key_tells_its_place(key: bytes) -> None:
    """From a record's or openings' key follows what it holds and of which state key."""
    assert Place(Section.RECORD, key) == GENERATION.place(GENERATION.record(key))
    assert Place(Section.OPENINGS, key) == GENERATION.place(GENERATION.openings(key))


@given(st.binary(max_size=40).map(lambda tail: GENERATION.prefix + tail))
def test_a_stranger_s_key_has_no_place(key: bytes) -> None:
    """A key has a place only if the layout gives exactly this name to that place."""
    place = GENERATION.place(key)
    assert place is None or key == name_of(place)


@pytest.mark.parametrize(
    "tail", [b"r/4/c000022", b"r/4/C0000224", b"r/6/c0000224", b"k/2/00", b"k/03/00", b"o/o/h/00"]
)
def test_other_spellings_have_no_place(tail: bytes) -> None:
    """Only one spelling of a key counts."""
    assert GENERATION.place(GENERATION.prefix + tail) is None


def test_cursor_and_claim() -> None:
    """The two keys of a generation that are no record."""
    assert Place(Section.CURSOR, b"") == GENERATION.place(b"/smtpnic/g7/cursor")
    assert Place(Section.CLAIM, b"") == GENERATION.place(b"/smtpnic/g7/claim")
    assert GENERATION.place(b"/smtpnic/g8/cursor") is None


def test_generation_of_a_key() -> None:
    """A key names its generation; `current` and what is not a number name none."""
    assert GENERATION == LAYOUT.generation_of(b"/smtpnic/g7/cursor")
    for key in (LAYOUT.current, b"/smtpnic/g07/cursor", b"/smtpnic/g7", b"/smtpnic/gx/cursor"):
        assert LAYOUT.generation_of(key) is None


@pytest.mark.parametrize("text", [b"", b"0", b"01", b"-1", b"1 ", b"1" * 19, b"x"])
def test_not_a_number(text: bytes) -> None:
    """What a generation's number is not."""
    assert parse_number(text) is None
    assert parse_number(b"12") == 12


@pytest.mark.parametrize("prefix", ["", "/", "smtpnic", "/smtpnic/", "//x", "/é"])
def test_prefixes_that_are_refused(prefix: str) -> None:
    """A prefix begins with a slash, does not end with one, and is ASCII."""
    with pytest.raises(ValueError, match="expected a form such as /smtpnic"):
        Layout(prefix)


@pytest.mark.parametrize("value", [None, b"", b"x", b"0", b"1x", b"-1", b" 2"])
def test_nothing_is_served_by_what_names_nothing(value: bytes | None) -> None:
    """A replica that was never loaded, or whose `current` somebody overwrote, is made anew."""
    assert LAYOUT.served(value) is None


def test_what_is_served_names_its_format() -> None:
    """Format 1, as it was before formats had numbers, is read; a newer one is refused by name."""
    served = LAYOUT.served(b"12")
    assert served == LAYOUT.generation(12)
    assert (b"12", False) == (served.name, served.is_outdated)
    with pytest.raises(NewerReplicaError, match=r"format 2.*update it"):
        LAYOUT.served(b"12 2")


def test_an_older_format_is_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a later format reads what is there, and names its own."""
    monkeypatch.setattr(layout, "FORMAT", 3)
    for value, number in ((b"12", 1), (b"12 2", 2)):
        served = LAYOUT.served(value)
        assert served is not None
        assert (number, True, value) == (served.format, served.is_outdated, served.name)
    current = LAYOUT.generation(12)
    assert (3, b"12 3", False) == (current.format, current.name, current.is_outdated)
    assert LAYOUT.served(b"12 3") == current
