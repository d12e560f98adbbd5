"""Our DNS server beside NSD, Knot, rbldnsd, BIND and PowerDNS, all with the same names.

An echo stands beside them: what the kernel leaves any server to reach.

Servers on one core, what asks on another. All are started before any is measured, and each load
goes over all of them in turn, round after round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.dns_changes import under_changes
from bench.dns_generators import WINDOW, Load, dnsload, dnsperf
from bench.dns_measuring import Asker, Extent, measure, that_are_right
from bench.dns_names import Names, make_names, write_names
from bench.dns_peers import ECHO, Data, compiled, dnset_lines, zone_lines
from bench.dns_queries import (
    HOSTILE,
    SIGNED_SIZE,
    USUAL,
    make_queries,
    to_be_echoed,
    write_dnsperf_queries,
    write_queries,
)
from bench.dns_report import SATURATED, Report
from bench.dns_servers import OURS, Subject, chosen, running
from bench.results import console, load_average, write_results

DNSPERF: Final = "dnsperf"
FIXED_RATE: Final = "fixed_rate"
# What is replayed again and again: enough names that they do not stay in a core's cache.
MAX_QUERIES: Final = 400_000
MAX_HOSTILE_QUERIES: Final = 100_000
# There are many hostile mixes: each has a third of the time.
HOSTILE_SHARE: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured; `rate` is the low one, in queries a second; no `servers`: all.

    `window` is how many queries are on their way at most.
    """

    names: int
    sizes: tuple[int, ...]
    seconds: float
    rounds: int
    rate: float
    window: int
    servers: tuple[str, ...]


class Bench:
    """One run: its directory, its cores, and what was found so far."""

    def __init__(self, home: Path, settings: Settings) -> None:
        self.report = Report()
        self._home, self._settings = home, settings
        self._servers = chosen(settings.servers)
        self._dnsload = compiled("dnsload", home)
        client_core, self._server_core = cores()
        self._extent = Extent(settings.seconds, settings.rounds, client_core)

    def run(self) -> None:
        """Everything, one after another."""
        names = make_names(self._settings.names)
        self._all_loads(names)
        self._signed_size(names)
        for count in self._settings.sizes:
            if count != self._settings.names:
                self._size(make_names(count))

    def _all_loads(self, names: Names) -> None:
        usual = self._saturating(USUAL, names, MAX_QUERIES)
        with self._running("usual", names) as subjects:
            right = self._measure(SATURATED, subjects, usual, self._extent)
            self.report.by_size[len(names.listed)] = self.report.by_load[SATURATED]
            self._measure(DNSPERF, right, self._dnsperf(names), self._extent)
            steady = self._at_fixed_rate
            self._measure(FIXED_RATE, right, steady, self._extent)
            ours = [subject for subject in right if subject.name in OURS]
            for load, ask in ((SATURATED, usual), (FIXED_RATE, steady)):
                self.report.under_changes[load] = under_changes(ours, ask, self._extent)
            less = replace(self._extent, seconds=self._extent.seconds * HOSTILE_SHARE)
            for mix in HOSTILE:
                ask = self._saturating(mix, names, MAX_HOSTILE_QUERIES)
                self._measure(mix, subjects, ask, less)

    def _signed_size(self, names: Names) -> None:
        ask = self._saturating(SIGNED_SIZE, names, MAX_QUERIES)
        with self._running(SIGNED_SIZE, names, with_text=True) as subjects:
            self._measure(SIGNED_SIZE, subjects, ask, self._extent)

    def _size(self, names: Names) -> None:
        count = len(names.listed)
        ask = self._saturating(USUAL, names, MAX_QUERIES)
        with self._running(f"{count:,} names", names) as subjects:
            right = that_are_right(f"{count:,} names", subjects, ask, self._extent)
            self.report.by_size[count] = measure(right, ask, self._extent)

    def _measure(
        self, load: str, subjects: Sequence[Subject], ask: Asker, extent: Extent
    ) -> list[Subject]:
        """Those that were measured: who answered as it should."""
        console.print(f"  {load}")
        right = that_are_right(load, subjects, ask, extent)
        self.report.by_load[load] = measure(right, ask, extent)
        return right

    def _running(
        self, title: str, names: Names, *, with_text: bool = False
    ) -> AbstractContextManager[list[Subject]]:
        home = self._home / title.replace(" ", "-")
        data = write_data(home, names, with_text=with_text)
        return running(self._servers, data, names.listed, home, self._server_core)

    def _saturating(self, mix: str, names: Names, most: int) -> Asker:
        path = self._queries(mix, len(names.listed))
        asked = list(make_queries(mix, names, min(len(names.listed), most)))
        write_queries(path, asked)
        write_queries(_echoed(path), map(to_be_echoed, asked))
        return lambda subject, seconds: self._ask(subject, path, seconds)

    def _queries(self, mix: str, count: int) -> Path:
        return self._home / f"{mix}-{count}.queries"

    def _ask(self, subject: Subject, path: Path, seconds: float, rate: float = 0) -> Load:
        queries = _echoed(path) if subject.name == ECHO else path
        window = self._settings.window
        return dnsload(self._dnsload, subject.endpoint, queries, seconds, rate=rate, window=window)

    def _at_fixed_rate(self, subject: Subject, seconds: float) -> Load:
        path = self._queries(USUAL, self._settings.names)
        return self._ask(subject, path, seconds, self._settings.rate)

    def _dnsperf(self, names: Names) -> Asker:
        path = self._home / "dnsperf.queries"
        write_dnsperf_queries(path, names, min(len(names.listed), MAX_QUERIES))
        return lambda subject, seconds: dnsperf(subject.endpoint, path, seconds)


def _echoed(path: Path) -> Path:
    """Where the same queries stand, with what an echo of them is."""
    return path.with_suffix(".echoed")


def write_data(home: Path, names: Names, *, with_text: bool) -> Data:
    """The names in every form that a server reads; `home` is made."""
    # rbldnsd reads its data as another user.
    home.mkdir(mode=0o755)
    data = Data(home / "zone", home / "dnset", home / "packed", with_text)
    with data.zone.open("w", encoding="ascii") as file:
        file.writelines(zone_lines(names.listed, with_text=with_text))
    with data.dnset.open("w", encoding="ascii") as file:
        file.writelines(dnset_lines(names.listed))
    write_names(data.packed, names.listed)
    return data


def cores() -> tuple[int | None, int | None]:
    """The core of what asks, and that of the servers; None when there is but one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        return allowed[0], allowed[-1]
    console.print("  one core only: what asks takes its time from the servers")
    return None, None


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    return tuple(int(number) for number in text.split(",") if number)


def settings() -> Settings:
    """From the command line, or else the environment."""
    parser = argparse.ArgumentParser(prog="make bench-dns", description=__doc__)
    env = os.environ.get
    parser.add_argument("--names", type=int, default=int(env("NAMES", "1000000")))
    sizes = env("SIZES", "10000,100000")
    parser.add_argument("--sizes", default=sizes, help="other sizes of the table, with commas")
    parser.add_argument("--seconds", type=float, default=float(env("SECONDS", "1.5")))
    parser.add_argument("--rounds", type=int, default=int(env("ROUNDS", "3")))
    parser.add_argument("--rate", type=float, default=float(env("RATE", "2000")))
    parser.add_argument("--window", type=int, default=int(env("WINDOW", str(WINDOW))))
    parser.add_argument("--servers", default=env("SERVERS", ""), help="some of them, with commas")
    given = parser.parse_args()
    servers = tuple(name for name in given.servers.split(",") if name)
    return Settings(
        given.names,
        numbers(given.sizes),
        given.seconds,
        given.rounds,
        given.rate,
        given.window,
        servers,
    )


def main() -> None:
    """Measures, prints, and writes bench/results/dns.json."""
    wanted, load_before = settings(), load_average()
    with tempfile.TemporaryDirectory(prefix="smtpnic-dns-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        bench = Bench(home, wanted)
        bench.run()
    bench.report.print()
    sizes = {"names": wanted.names, "seconds": wanted.seconds, "rounds": wanted.rounds}
    figures = {"load_before": load_before, **sizes, "rate": wanted.rate}
    path = write_results("dns", {**figures, **bench.report.to_json()})
    console.print(f"  written to {path}")


if __name__ == "__main__":
    main()
