"""Registrations for the lab: mail servers in the block that RFC 2544 set aside for benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

# 198.18.0.0/15, and behind it 10.0.0.0/8 for sizes beyond it.
_BLOCKS = ((198 << 24 | 18 << 16, 1 << 17), (10 << 24, 1 << 24))


def addresses() -> Iterator[str]:
    """Distinct IPv4 addresses that no mail server on the Internet has."""
    for base, size in _BLOCKS:
        for offset in range(size):
            number = base + offset
            yield f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def write_import_file(path: Path, count: int) -> list[str]:
    """Writes `count` rows for `smtpnic import`; their addresses."""
    chosen = list(islice(addresses(), count))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["address", "host", "domain"])
        rows.writerows(
            (address, f"mx{number}.customers.example", "customers.example")
            for number, address in enumerate(chosen)
        )
    return chosen
