"""Hypothesis strategies for the registry's own values."""

from __future__ import annotations

from hypothesis import strategies as st

from registry.address import Address
from registry.contact import Commitment, Opening
from registry.entry import MAX_KEY_BYTES, MAX_KIND, Entry
from registry.holder import Holder
from registry.kinds import ContactField, Kind, Operation, Status
from registry.registration import Registration
from registry.state import State

hashes = st.binary(min_size=32, max_size=32)
holder_ids = st.binary(min_size=16, max_size=16)
times_ms = st.integers(0, 2**63 - 1)
statuses = st.sampled_from(Status)
fields = st.sampled_from(ContactField)

addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)).map(
    Address
)

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.startswith("xn--")
)
domains = st.lists(labels, min_size=2, max_size=4).map(".".join)
printable = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=60)


@st.composite
def registrations(draw: st.DrawFn) -> Registration:
    """Any registration."""
    domain = draw(domains)
    host = ".".join([*draw(st.lists(labels, max_size=3)), domain])
    reason = draw(st.one_of(st.just(""), printable))
    return Registration(draw(holder_ids), host, domain, draw(statuses), draw(times_ms), reason)


commitments = st.builds(Commitment, fields, hashes)
openings = st.builds(Opening, fields, hashes, printable)
holders = st.builds(
    Holder,
    statuses,
    times_ms,
    st.lists(commitments, max_size=4, unique_by=lambda commitment: commitment.field).map(tuple),
)
states = st.builds(State, st.integers(0, 2**63 - 1), hashes, st.integers(1, 2**32 - 1))


_KEY_LENGTHS: dict[int, st.SearchStrategy[int]] = {
    Kind.HOLDER: st.just(16),
    Kind.REGISTRATION: st.sampled_from([4, 16]),
    Kind.ROOT: st.just(8),
    Kind.DECISION: st.just(16),
    Kind.STATE: st.just(0),
    Kind.REMOVED_KEY: st.just(32),
}


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry, of a kind known or not, whose payload is any bytes."""
    kind = draw(st.integers(1, MAX_KIND))
    length = draw(_KEY_LENGTHS.get(kind, st.integers(1, MAX_KEY_BYTES)))
    operation = draw(st.sampled_from(Operation))
    payload = draw(st.binary(max_size=200)) if operation == Operation.PUT else b""
    key = draw(st.binary(min_size=length, max_size=length))
    return Entry(kind, key, operation, draw(st.booleans()), draw(times_ms), payload)
