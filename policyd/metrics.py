"""What the policy service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class PolicydMetrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.outcomes = Counter(
            "smtpnic_policyd_outcomes",
            "Decisions, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.lookups = Counter(
            "smtpnic_policyd_lookups",
            "Questions to DNS, by what was found.",
            ["finding"],
            registry=self.registry,
        )
        self.cached = Counter(
            "smtpnic_policyd_cached", "Decisions that needed no DNS.", registry=self.registry
        )
        self.lookup_seconds = Histogram(
            "smtpnic_policyd_lookup_seconds",
            "Time until DNS answered or was given up.",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.trusted = Gauge(
            "smtpnic_policyd_trusted",
            "1 while the list's test entries are as they must be; 0: nothing is enforced.",
            registry=self.registry,
        )
        self.connections = Gauge(
            "smtpnic_policyd_connections", "Open connections.", registry=self.registry
        )
