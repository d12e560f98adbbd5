"""Which of the two implementations of table and common answers runs."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec


class Implementation(StrEnum):
    """They give the same answers."""

    # C, several times as fast, on all cores; built where there is a compiler.
    COMPILED = "compiled"
    PURE = "pure"


def choose(*, is_compiled_wanted: bool) -> Implementation:
    """The compiled one where it is wanted and was built."""
    is_built = find_spec("secondary.dns.compiled.listener") is not None
    return Implementation.COMPILED if is_compiled_wanted and is_built else Implementation.PURE
