"""The alerts, the dashboard and the names of metrics in what they ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DIRECTORY: Final = ROOT / "k8s" / "components" / "prometheus-operator"
ALERTS: Final = DIRECTORY / "alerts.yaml"
DASHBOARD: Final = DIRECTORY / "dashboard.json"

# Ours, those of every Prometheus client, and what Prometheus knows of every target.
_METRIC: Final = re.compile(r"\b((?:smtpnic|process)_[a-z0-9_]+|up)\b")
_HISTOGRAM: Final = re.compile(r"_(?:bucket|count|sum)$")


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """The title of each panel, and each of its queries, for all instances and five minutes."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield panel["title"], query


def metrics_in(expression: str) -> set[str]:
    """The families of metrics that an expression names."""
    return {_HISTOGRAM.sub("", name) for name in _METRIC.findall(expression)}
