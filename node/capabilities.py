"""Linux capabilities (capabilities(7)) that a process needs at its start alone."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

# linux/capability.h: the third version has 64 capabilities, in two words of each set.
_VERSION: Final = 0x20080522
_HEADER: Final = struct.Struct("=Ii")
_SETS: Final = struct.Struct("=6I")
# linux/prctl.h
_PR_CAPBSET_DROP: Final = 24
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """Those that are given up, by the kernel's numbers."""

    NET_ADMIN = 12
    NET_RAW = 13
    BPF = 39


def give_up(capabilities: Iterable[Capability]) -> None:
    """Has this thread, and those it starts from now on, never have the capabilities again.

    OSError if the kernel refuses; RuntimeError where other threads already run, which would keep
    them.
    """
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("capabilities are given up before threads are started")
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0), _HEADER.size)
    sets = ctypes.create_string_buffer(_SETS.size)
    _check(_LIBC.capget(header, sets))
    words = list(_SETS.unpack(sets.raw))
    for capability in capabilities:
        word, bit = divmod(capability, 32)
        # Effective, permitted, inheritable, and then the same of the second word.
        for number in range(3):
            words[3 * word + number] &= ~(1 << bit)
        # Only who may change sets may; without it, what was permitted to nobody stays so.
        with suppress(OSError):
            _check(_LIBC.prctl(_PR_CAPBSET_DROP, int(capability), 0, 0, 0))
    _check(_LIBC.capset(header, ctypes.create_string_buffer(_SETS.pack(*words), _SETS.size)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
