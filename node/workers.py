"""Threads for what waits for a disk or another machine, so that the event loop does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# For reads of the database and of files. Fewer than the database has connections for readers; on
# two cores more would only take turns.
READ_THREADS: Final = 4


class Workers:
    """Runs functions in threads of its own; in one thread, one after another."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises; cancelled, it still runs to its end."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Waits for what runs; what waits is dropped."""
        self._executor.shutdown(cancel_futures=True)
