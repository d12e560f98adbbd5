"""One kind of load on several servers, in interleaved rounds, and what it came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from bench.dns_generators import Load
from bench.dns_servers import Subject
from bench.load import pinned
from bench.results import console

US_A_SECOND: Final = 1e6
# Long enough for some thousands of answers.
TRIAL_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a load is, how often it is repeated, and the core that asks."""

    seconds: float
    rounds: int
    core: int | None


@dataclass(frozen=True, slots=True)
class Round:
    """What one server took for one load: CPU time an answer, all its processes included."""

    load: Load
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A server under a load: medians over the rounds; `lost` and `wrong` are of all together.

    `latency_us` is the median of a round's answers, for dnsperf their mean.
    """

    qps: float
    cpu_us: float
    lost: int
    wrong: int
    latency_us: float
    latency_p99_us: float | None
    rss_mb: float
    load_s: float

    @property
    def busy_percent(self) -> float:
        """How much of a core it took; far below 100 something else was the limit."""
        return self.qps * self.cpu_us * 100 / US_A_SECOND

    def to_json(self) -> dict[str, Any]:
        """Rounded, with the names above."""
        return {
            "qps": round(self.qps),
            "cpu_us": round(self.cpu_us, 2),
            "lost": self.lost,
            "wrong": self.wrong,
            "latency_us": round(self.latency_us, 1),
            "latency_p99_us": None
            if self.latency_p99_us is None
            else round(self.latency_p99_us, 1),
            "rss_mb": self.rss_mb,
            "load_s": self.load_s,
        }


# By server.
Measured = dict[str, Figures]
# Asks a server for so many seconds.
Asker = Callable[[Subject, float], Load]


def summary(rounds: Sequence[Round], rss_mb: float, load_s: float) -> Figures:
    """The figures of at least one round."""
    loads = [one.load for one in rounds]
    tails = [load.p99_us for load in loads if load.p99_us is not None]
    return Figures(
        qps=median(load.per_second for load in loads),
        cpu_us=median(one.cpu_us for one in rounds),
        lost=sum(load.lost for load in loads),
        wrong=sum(load.wrong for load in loads),
        latency_us=median(load.latency_us for load in loads),
        latency_p99_us=median(tails) if tails else None,
        rss_mb=rss_mb,
        load_s=load_s,
    )


def measure_once(subject: Subject, ask: Asker, extent: Extent) -> Round:
    """One load on one server, the generator on a core of its own."""
    before = subject.cpu_seconds()
    with pinned(extent.core):
        load = ask(subject, extent.seconds)
    spent = subject.cpu_seconds() - before
    return Round(load, spent * US_A_SECOND / max(load.answered, 1))


def measure(subjects: Sequence[Subject], ask: Asker, extent: Extent) -> Measured:
    """Rounds over all servers, every other one the other way about.

    What drifts on the machine meanwhile hits all of them.
    """
    found: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
    for number in range(extent.rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            found[subject.name].append(measure_once(subject, ask, extent))
    return {
        subject.name: summary(found[subject.name], subject.rss_mb(), subject.load_s)
        for subject in subjects
    }


def that_are_right(
    load: str, subjects: Sequence[Subject], ask: Asker, extent: Extent
) -> list[Subject]:
    """Those that answer a short load as they should; says who does not, and what was answered.

    It also warms them up.
    """
    right = []
    trial = replace(extent, seconds=min(TRIAL_SECONDS, extent.seconds))
    for subject in subjects:
        tried = measure_once(subject, ask, trial).load
        if tried.wrong or not tried.answered:
            console.print(
                f"  {subject.name} is left out of {load}: {tried.answered} right, "
                f"{tried.wrong} wrong, such as {tried.first_wrong or 'none at all'}"
            )
        else:
            right.append(subject)
    return right
