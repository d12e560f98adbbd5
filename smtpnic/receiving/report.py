"""Whom enforcement would have refused: deliveries added up, and what the registry says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from node.endpoint import Endpoint
from node.finding import Finding
from registry.address import Address
from smtpnic.receiver import MAX_CONCURRENT_SERVERS, ask
from smtpnic.receiving.mail_log import Delivery

BAR: Final = "█"
BAR_COLUMNS: Final = 40


@dataclass(slots=True)
class Tally:
    """What one address delivered."""

    messages: int = 0
    authenticated: int = 0
    by_day: dict[date, int] = field(default_factory=dict)

    @property
    def unauthenticated(self) -> int:
        """What only the registration of the address would let in."""
        return self.messages - self.authenticated


@dataclass(frozen=True, slots=True)
class Row:
    """One address, what it delivered, and what the registry says of it."""

    address: Address
    tally: Tally
    finding: Finding | None

    @property
    def refused(self) -> int:
        """How many of its messages enforcement would have refused."""
        return self.tally.unauthenticated if self.finding is Finding.NOT_REGISTERED else 0


def tally(deliveries: Iterable[Delivery], since: datetime) -> dict[Address, Tally]:
    """Adds up what came since then, from addresses that could be registered."""
    found: dict[Address, Tally] = {}
    for delivery in deliveries:
        if delivery.at < since or delivery.address.special_purpose() is not None:
            continue
        entry = found.setdefault(delivery.address, Tally())
        entry.messages += 1
        if delivery.is_authenticated:
            entry.authenticated += 1
        else:
            day = delivery.at.date()
            entry.by_day[day] = entry.by_day.get(day, 0) + 1
    return found


def look_up(
    tallies: Mapping[Address, Tally],
    server: Endpoint,
    zone: str,
    timeout_seconds: float,
    advance: Callable[[], None],
) -> list[Row]:
    """The rows, whoever would be refused most first; who always authenticated is not asked for."""

    def row(item: tuple[Address, Tally]) -> Row:
        address, entry = item
        finding = None
        if entry.unauthenticated:
            finding = ask(server, address, zone, timeout_seconds).finding
        advance()
        return Row(address, entry, finding)

    with ThreadPoolExecutor(MAX_CONCURRENT_SERVERS) as pool:
        rows = list(pool.map(row, tallies.items()))
    return sorted(rows, key=lambda row: (-row.refused, -row.tally.messages, row.address))


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """The numbers that matter before enforcement is switched on."""
    failures = [row for row in rows if row.finding is Finding.FAILURE]
    return {
        "messages": sum(row.tally.messages for row in rows),
        "addresses": len(rows),
        "authenticated_messages": sum(row.tally.authenticated for row in rows),
        "refused_messages": sum(row.refused for row in rows),
        "refused_addresses": sum(row.refused > 0 for row in rows),
        "unknown_messages": sum(row.tally.unauthenticated for row in failures),
    }


def plot(rows: Sequence[Row], days: int, today: date) -> list[str]:
    """A line a day: how many messages would have been refused."""
    totals = {today - timedelta(days=back): 0 for back in reversed(range(days))}
    for row in rows:
        if row.refused:
            for day, count in row.tally.by_day.items():
                if day in totals:
                    totals[day] += count
    most = max(totals.values(), default=0)
    if not most:
        return []
    width = len(f"{most:,}")
    return [
        f"{day}  {count:>{width},}  {BAR * _columns(count, most)}".rstrip()
        for day, count in totals.items()
    ]


def _columns(count: int, most: int) -> int:
    # What is not nothing is seen.
    return max(1, round(count / most * BAR_COLUMNS)) if count else 0
