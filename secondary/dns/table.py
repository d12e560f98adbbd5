"""The registrations DNS answers for, in memory.

`NameTable` is what the responder asks; `DictTable` is the one that needs no compiler.
"""

from __future__ import annotations

from typing import Final, Protocol, Self

from registry.address import Address
from registry.entry import state_key
from registry.kinds import Kind
from registry.registration import Registration
from secondary.view import Standing

# A plain number: comparing with an enumeration costs several times as much.
_REGISTRATION: Final = int(Kind.REGISTRATION)


class NameTable(Protocol):
    """A loaded table; any number of threads may ask while one writes."""

    @property
    def standing(self) -> Standing:
        """How far in the log the table is."""

    def find(self, address: Address) -> Registration | None:
        """The registration of `address`, whatever its status; None when there is none."""

    def __len__(self) -> int:
        """Number of registrations, of any status."""


class DictTable:
    """One dict from state keys to payloads, decoded when asked for.

    Both are bytes, which the garbage collector does not visit: a million names cost it nothing.
    """

    def __init__(self) -> None:
        self._payloads: dict[bytes, bytes] = {}
        self._standing: Standing | None = None

    @property
    def standing(self) -> Standing:
        """How far in the log the table is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the table was not loaded")
        return self._standing

    def find(self, address: Address) -> Registration | None:
        """The registration of `address`, whatever its status; None when there is none."""
        payload = self._payloads.get(state_key(Kind.REGISTRATION, address.packed))
        return None if payload is None else Registration.decode(payload)

    def __len__(self) -> int:
        return len(self._payloads)

    def agrees_with(self, other: Self) -> bool:
        """Whether both hold the same registrations."""
        return self._payloads == other._payloads

    def put(self, state_key: bytes, payload: bytes, record: bytes) -> None:  # noqa: ARG002
        """Takes a registration; other kinds have no name."""
        if state_key[0] == _REGISTRATION:
            self._payloads[state_key] = payload

    def remove(self, state_key: bytes) -> None:
        """Forgets a registration."""
        self._payloads.pop(state_key, None)

    def put_openings(self, state_key: bytes, record: bytes) -> None:
        """Contact is not published in DNS."""

    def remove_openings(self, state_key: bytes) -> None:
        """Contact is not published in DNS."""

    def advance(self, standing: Standing) -> None:
        """The serial that DNS shows rises with this, after the records."""
        self._standing = standing
