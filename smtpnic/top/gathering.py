"""Asks processes for their metrics, and a node for the end of its log, over plain HTTP."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Final

from registry.errors import RegistryError
from registry.tiles import TILE_WIDTH, bundle_path, decode_bundle
from smtpnic.top.changes import ChangeView, newest
from smtpnic.top.metrics import Reading

ASK_SECONDS: Final = 3.0
# A process shows some tens of KiB; a bundle has 2 MiB at most.
MAX_BYTES: Final = 4 << 20
MAX_CONCURRENT: Final = 16


def read_all(urls: Sequence[str]) -> list[Reading]:
    """The metrics of each process; those that do not answer say why."""
    if not urls:
        return []
    with ThreadPoolExecutor(min(len(urls), MAX_CONCURRENT)) as pool:
        return list(pool.map(_read, urls))


def _read(url: str) -> Reading:
    try:
        text = _get(f"{url}/metrics").decode()
        return Reading.parse(url, time.monotonic(), text)
    except (OSError, HTTPException, ValueError) as error:
        return Reading(url, time.monotonic(), problem=f"no metrics: {error}")


def last_changes(url: str, count: int) -> tuple[list[ChangeView], str]:
    """The newest changes that a node's log shows, or why there are none."""
    try:
        size = int(_get(f"{url}/checkpoint").split(b"\n")[1])
        entries = _last_entries(lambda path: _get(f"{url}/{path}"), size, count)
    except (OSError, HTTPException, ValueError, IndexError, RegistryError) as error:
        return [], f"{url}: {error}"
    return newest(entries, count), ""


def _last_entries(get: Callable[[str], bytes], size: int, count: int) -> list[tuple[int, bytes]]:
    """At least as many as wanted, of the last two bundles."""
    entries: list[tuple[int, bytes]] = []
    last = (size - 1) // TILE_WIDTH
    for index in range(last, max(-1, last - 2), -1):
        start = index * TILE_WIDTH
        width = min(TILE_WIDTH, size - start)
        found = decode_bundle(get(bundle_path(index, width)))
        entries = [*((start + place, data) for place, data in enumerate(found)), *entries]
        # Every batch is closed by an entry that changes nothing.
        if len(entries) >= 2 * count:
            break
    return entries


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=ASK_SECONDS) as reply:  # noqa: S310 - http, checked
        data: bytes = reply.read(MAX_BYTES)
    return data
