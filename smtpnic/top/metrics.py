"""What processes show to Prometheus, read for a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# As the alerts of the same names.
MAX_SERVFAIL_SHARE: Final = 0.01
MAX_LAG_SECONDS: Final = 60.0
MIN_CERTIFICATE_DAYS: Final = 20.0
_BAD: Final = {
    "smtpnic_forked": "a mirror holds another log: the log has forked",
    "smtpnic_behind_mirrors": "a mirror holds more of the log: an older database was restored",
    "smtpnic_follower_out_of_rotation": "it lacks what its peers have, and answers SERVFAIL",
    "smtpnic_etcd_alarms": "etcd raises an alarm",
    "smtpnic_lapses_held_back": "more registrations would lapse than may in a day",
}

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics of one process at one time; `problem` says why there are none."""

    url: str
    time_s: float
    samples: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def parse(cls, url: str, time_s: float, text: str) -> Reading:
        """Out of Prometheus' text form; ValueError if it is none."""
        # Other commands do without.
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

        samples: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name][frozenset(sample.labels.items())] = sample.value
        return cls(url, time_s, samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of a name that have these labels; 0 if there are none."""
        wanted = labels.items()
        return sum(v for found, v in self.samples.get(name, {}).items() if wanted <= found)

    def first(self, name: str) -> float | None:
        """The value of a metric without labels; None if it is not shown."""
        return next(iter(self.samples.get(name, {}).values()), None)

    @property
    def about(self) -> Mapping[str, str]:
        """The process's role and version."""
        for labels in self.samples.get("smtpnic_build_info", {}):
            return dict(labels)
        return {}


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process, as two readings a moment apart show it; None where it has no such thing."""

    url: str
    alarms: tuple[str, ...]
    role: str = ""
    version: str = ""
    queries_per_second: float | None = None
    servfail_share: float | None = None
    limited_per_second: float | None = None
    records: float | None = None
    lag_entries: float | None = None
    lag_seconds: float | None = None
    memory_bytes: float | None = None


def judge(before: Reading | None, now: Reading) -> ProcessState:
    """What is seen of one process; without a reading from `before` there are no rates."""
    if now.problem:
        return ProcessState(now.url, (now.problem,))
    answers = _rate(before, now, "smtpnic_dns_answers_total")
    failures = _rate(before, now, "smtpnic_dns_answers_total", rcode="SERVFAIL")
    share = None if not answers or failures is None else failures / answers
    return ProcessState(
        now.url,
        tuple(_alarms(now, share)),
        now.about.get("role", ""),
        now.about.get("version", ""),
        answers,
        share,
        _rate(before, now, "smtpnic_dns_limited_total"),
        now.first("smtpnic_table_size"),
        now.first("smtpnic_follower_lag_entries"),
        now.first("smtpnic_follower_lag_seconds"),
        now.first("process_resident_memory_bytes"),
    )


def _rate(before: Reading | None, now: Reading, name: str, **labels: str) -> float | None:
    if before is None or before.problem or name not in now.samples or now.time_s <= before.time_s:
        return None
    grown = now.total(name, **labels) - before.total(name, **labels)
    # It began anew in between.
    return max(0.0, grown) / (now.time_s - before.time_s)


def _alarms(now: Reading, servfail_share: float | None) -> list[str]:
    found = [text for name, text in _BAD.items() if now.total(name) > 0]
    if now.total("smtpnic_follower_phase", phase="forked") > 0:
        found.append("the log has forked, and following has ended")
    if now.first("smtpnic_view_loaded") == 0:
        found.append("nothing verified is loaded")
    if now.total("smtpnic_condition", condition="behind") > 0:
        found.append("what it serves is behind other mirrors")
    if now.first("smtpnic_etcd_up") == 0:
        found.append("etcd is away")
    if (now.first("smtpnic_follower_lag_seconds") or 0) > MAX_LAG_SECONDS:
        found.append("it has been behind for more than a minute")
    if servfail_share is not None and servfail_share > MAX_SERVFAIL_SHARE:
        found.append(f"{servfail_share:.0%} of its answers are SERVFAIL")
    for labels, days in now.samples.get("smtpnic_certificate_expires_days", {}).items():
        if days < MIN_CERTIFICATE_DAYS:
            found.append(f"certificate {dict(labels)['certificate']} ends in {days:.0f} days")
    return found
