"""What asks: dnsload, a program of ours built when it is needed, and dnsperf(1)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.dns_peers import program
from lab.process import run
from node.endpoint import Endpoint

# dnsperf's default: the server never waits, and the smallest receive buffer (rbldnsd's) holds it.
WINDOW: Final = 100
TIMEOUT_MS: Final = 1000
# What a generator may take beside the time it was given.
SLACK_SECONDS: Final = 30.0
US_A_SECOND: Final = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator saw. `wrong`: answers that were not the expected one.

    `answered` counts all of the run; `per_second` those within its time. Microseconds; dnsperf
    tells no percentiles, so its `latency_us` is the mean, that of dnsload the median.
    """

    answered: int
    per_second: float
    lost: int
    wrong: int
    latency_us: float
    p99_us: float | None = None
    first_wrong: str = ""


def dnsload(
    binary: Path,
    target: Endpoint,
    queries: Path,
    seconds: float,
    *,
    rate: float = 0,
    window: int = WINDOW,
    timeout_ms: int = TIMEOUT_MS,
) -> Load:
    """Replays a file of queries for so long; `rate` a second, 0: as fast as answers come."""
    numbers = (str(value) for value in (seconds, window, rate, timeout_ms))
    command = [str(binary), target.host, str(target.port), str(queries), *numbers]
    return parse_dnsload(run(command, seconds=seconds + SLACK_SECONDS))


def parse_dnsload(text: str) -> Load:
    """What dnsload printed."""
    said: dict[str, Any] = json.loads(text)
    return Load(
        said["answered"],
        said["qps"],
        said["lost"],
        said["wrong"],
        said["p50_us"],
        said["p99_us"],
        said["first_wrong"],
    )


def dnsperf(target: Endpoint, queries: Path, seconds: float) -> Load:
    """Runs dnsperf for so long, as fast as answers come; it checks no answer."""
    command = [program("dnsperf"), "-s", target.host, "-p", str(target.port), "-d", str(queries)]
    command += ["-l", str(max(round(seconds), 1)), "-q", str(WINDOW), "-c", "1", "-T", "1"]
    return parse_dnsperf(run(command, seconds=seconds + SLACK_SECONDS))


def parse_dnsperf(text: str) -> Load:
    """The statistics that dnsperf printed at its end; ValueError when one is not there."""
    return Load(
        int(_statistic(text, "Queries completed")),
        _statistic(text, "Queries per second"),
        int(_statistic(text, "Queries lost")),
        0,
        round(_statistic(text, "Average Latency (s)") * US_A_SECOND, 1),
    )


def _statistic(text: str, name: str) -> float:
    found = re.search(rf"^\s*{re.escape(name)}:\s+([0-9.]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"dnsperf did not print {name!r}:\n{text}")
    return float(found.group(1))
