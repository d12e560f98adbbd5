"""One moment of the cluster, laid out for a terminal and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from smtpnic.nodes import NodeState
from smtpnic.output import printable, time_text
from smtpnic.top.changes import ChangeView
from smtpnic.top.metrics import ProcessState

_MIB: Final = 1 << 20
_PROCESS_COLUMNS: Final = (
    "process",
    "role",
    "queries/s",
    "SERVFAIL",
    "limited/s",
    "records",
    "behind",
    "for",
    "memory",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen at `time_ms`. `changes_problem` says why there are no changes."""

    time_ms: int
    nodes: Sequence[NodeState]
    processes: Sequence[ProcessState]
    changes: Sequence[ChangeView]
    changes_problem: str = ""

    @property
    def alarms(self) -> list[str]:
        """All that is wrong, with where."""
        return [
            *(f"{one.name or one.address}: {text}" for one in self.nodes for text in one.advice),
            *(f"{one.url}: {text}" for one in self.processes for text in one.alarms),
        ]

    @property
    def queries_per_second(self) -> float | None:
        """Of all servers that show it."""
        rates = [one.queries_per_second for one in self.processes]
        shown = [rate for rate in rates if rate is not None]
        return sum(shown) if shown else None

    def values(self) -> dict[str, object]:
        """For programs."""
        return {
            "time": time_text(self.time_ms),
            "queries_per_second": self.queries_per_second,
            "nodes": [_node_values(one) for one in self.nodes],
            "processes": [asdict(one) for one in self.processes],
            "changes": [
                {"index": one.index, "time": time_text(one.time_ms), "what": one.what}
                for one in self.changes
            ],
            "alarms": self.alarms,
        }

    def layout(self, *, keys: bool) -> RenderableType:
        """For people; `keys` tells which keys do what."""
        return Group(*self._parts(keys=keys))

    def _parts(self, *, keys: bool) -> Iterator[RenderableType]:
        rate = self.queries_per_second
        shown = "" if rate is None else f", {rate:,.1f} queries a second"
        yield Text(f"SMTP Registry, {time_text(self.time_ms)}{shown}", style="bold")
        yield _table(
            ("node", "name", "phase", "size", "behind", "serial", "last change"),
            [
                (
                    f"{one.role} {one.address}",
                    one.name,
                    one.phase,
                    f"{one.size:,}",
                    f"{one.lag:,}",
                    str(one.zone_serial),
                    time_text(one.checkpoint_ms),
                )
                for one in self.nodes
            ],
        )
        if self.processes:
            yield _table(_PROCESS_COLUMNS, [_process_row(one) for one in self.processes])
        yield _heading("last changes")
        yield from (
            Text(printable(f"  {time_text(one.time_ms)}  {one.index:>9}  {one.what}"))
            for one in self.changes
        )
        if not self.changes:
            yield Text(printable(f"  {self.changes_problem or 'none'}"), style="dim")
        yield _heading("alarms")
        yield from (Text(printable(f"  {one}"), style="bold red") for one in self.alarms)
        if not self.alarms:
            yield Text("  none", style="green")
        if keys:
            yield Text("\nq ends", style="dim")


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=" ")
    for column in columns:
        is_text = column in ("node", "name", "phase", "process", "role", "last change")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _process_row(one: ProcessState) -> tuple[str, ...]:
    return (
        one.url,
        one.role or "?",
        _number(one.queries_per_second, ",.1f"),
        _number(one.servfail_share, ".1%"),
        _number(one.limited_per_second, ",.1f"),
        _number(one.records, ",.0f"),
        _number(one.lag_entries, ",.0f"),
        _number(one.lag_seconds, ",.0f", " s"),
        _number(None if one.memory_bytes is None else one.memory_bytes / _MIB, ",.0f", " MiB"),
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _node_values(one: NodeState) -> dict[str, object]:
    return {
        "node": one.role,
        "address": one.address,
        "name": one.name,
        "phase": one.phase,
        "size": one.size,
        "lag": one.lag,
        "zone_serial": one.zone_serial,
        "checkpoint": time_text(one.checkpoint_ms),
        "advice": list(one.advice),
    }
