"""Long work in threads that leave the processor to who answers and who follows."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

# Of a thread, on Linux: it gets a tenth of what one at 0 gets, and all that is left over.
NICENESS: Final = 10
# How long a thread that loads may keep the interpreter from one that answers (Python: 5 ms).
SWITCH_SECONDS: Final = 0.0005


def lower_priority() -> None:
    """Make the calling thread one that waits for others; there is no way back."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def run_in_background(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done by a thread of low priority."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        lower_priority()
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="background")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
