"""What a process that serves for months asks of the C library's allocator.

Both are glibc's; other C libraries have no such calls, and keep less.
"""

from __future__ import annotations

import ctypes
from typing import Final

# M_ARENA_MAX of glibc's malloc.h.
_ARENA_MAX: Final = -8


def use_one_arena() -> None:
    """Has all threads allocate from one place; before the first of them is started.

    glibc has one for each that meets another, and each keeps the most that it ever held: 14 MB of
    a serving process after a load. Queries allocate next to nothing, so nobody waits for another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def return_memory() -> None:
    """Gives back to the system what was freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
