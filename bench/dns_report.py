"""The figures of DNS as tables, and as the file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.dns_changes import UnderChanges
from bench.dns_measuring import Measured
from bench.dns_servers import OURS
from bench.results import print_table

# Whom ours is compared with.
RIVALS: Final = ("nsd", "knot", "rbldnsd")
SATURATED: Final = "saturated"
MILLION: Final = 1_000_000


@dataclass(slots=True)
class Report:
    """All that was measured: by load, by size of the table, and under changes by load."""

    by_load: dict[str, Measured] = field(default_factory=dict)
    by_size: dict[int, Measured] = field(default_factory=dict)
    under_changes: dict[str, UnderChanges] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """By load and server; beside the loads: ratios, sizes, changes."""
        return {
            **{load: _figures(measured) for load, measured in self.by_load.items()},
            "ratios": {load: ratios(measured) for load, measured in self.by_load.items()},
            "sizes": {str(size): _figures(by) for size, by in sorted(self.by_size.items())},
            "mb_a_million_names": mb_a_million_names(self.by_size),
            "changes": {
                load: {
                    name: {
                        "changes_a_second": round(rate),
                        "idle": one.idle[name].to_json(),
                        "changing": one.changing[name].to_json(),
                    }
                    for name, rate in one.changes_a_second.items()
                }
                for load, one in self.under_changes.items()
            },
        }

    def print(self) -> None:
        """The tables."""
        for load, measured in self.by_load.items():
            _print_load(load, measured)
        _print_ratios(self.by_load)
        _print_sizes(self.by_size)
        _print_changes(self.under_changes)


def ratios(measured: Measured) -> dict[str, dict[str, dict[str, float]]]:
    """Of each of ours to each rival: queries a second, and CPU time a query."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in (name for name in OURS if name in measured):
        ours, found[name] = measured[name], {}
        for rival in RIVALS:
            theirs = measured.get(rival)
            if theirs is not None and theirs.qps and theirs.cpu_us:
                found[name][rival] = {
                    "qps": round(ours.qps / theirs.qps, 3),
                    "cpu_us": round(ours.cpu_us / theirs.cpu_us, 3),
                }
    return found


def mb_a_million_names(by_size: Mapping[int, Measured]) -> dict[str, float]:
    """What 1,000,000 names add to each server, from its smallest and its largest table."""
    if len(by_size) < 2:
        return {}
    few, many = min(by_size), max(by_size)
    return {
        name: round((found.rss_mb - by_size[few][name].rss_mb) * MILLION / (many - few), 1)
        for name, found in by_size[many].items()
        if name in by_size[few]
    }


def _figures(measured: Measured) -> dict[str, dict[str, Any]]:
    return {name: figures.to_json() for name, figures in measured.items()}


def _print_load(load: str, measured: Measured) -> None:
    columns = ["", "queries/s", "CPU us", "busy %", "lost", "latency us", "p99 us"]
    rows: list[list[object]] = []
    for name, found in measured.items():
        p99 = "" if found.latency_p99_us is None else found.latency_p99_us
        row = [name, round(found.qps), found.cpu_us, round(found.busy_percent)]
        rows.append([*row, found.lost, found.latency_us, p99])
    print_table(load, columns, rows)


def _print_ratios(by_load: Mapping[str, Measured]) -> None:
    columns = ["queries/s (CPU a query) of ours to", *RIVALS]
    for name in OURS:
        rows: list[list[object]] = []
        for load, measured in by_load.items():
            found = ratios(measured).get(name)
            if found:
                cells = (found.get(rival) for rival in RIVALS)
                rows.append([load, *(f"{c['qps']} ({c['cpu_us']})" if c else "" for c in cells)])
        if rows:
            print_table(f"{name}, ratios", columns, rows)


def _print_sizes(by_size: Mapping[int, Measured]) -> None:
    sizes = sorted(by_size)
    names = list(dict.fromkeys(name for size in sizes for name in by_size[size]))
    for title, quantity in (("CPU us a query", "cpu_us"), ("MB", "rss_mb"), ("load s", "load_s")):
        rows: list[list[object]] = [
            [
                name,
                *(getattr(by_size[s][name], quantity) if name in by_size[s] else "" for s in sizes),
            ]
            for name in names
        ]
        print_table(f"{title}, by number of names", ["", *(f"{s:,}" for s in sizes)], rows)
    if added := mb_a_million_names(by_size):
        print_table("What 1,000,000 names add", ["", "MB"], [*added.items()])


def _print_changes(under_changes: Mapping[str, UnderChanges]) -> None:
    columns = ["", "changes/s", "queries/s", "CPU us", "latency us", "p99 us"]
    rows: list[list[object]] = []
    for load, one in under_changes.items():
        for name, rate in one.changes_a_second.items():
            for changes, found in ((0, one.idle[name]), (round(rate), one.changing[name])):
                p99 = "" if found.latency_p99_us is None else found.latency_p99_us
                row = [f"{name}, {load}", changes, round(found.qps), found.cpu_us]
                rows.append([*row, found.latency_us, p99])
    if rows:
        print_table("While changes arrive", columns, rows)
