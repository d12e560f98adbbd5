"""Each alert rings when it should, stays silent otherwise, and has a page that says what to do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.alerts import ALERTS, DASHBOARD, ROOT, alerts, dashboard_queries, metrics_in
from tests.unit.test_docs import metric_names

RUNBOOKS = ROOT / "docs" / "runbooks"
# What each page has, in this order.
SECTIONS = ["## What it means", "## What to look at", "## What to do"]
# Of every process, made by the client library; `up` is Prometheus' own.
GIVEN = {"up", "process_start_time_seconds", "process_resident_memory_bytes"} | {
    "process_cpu_seconds_total",
    "process_open_fds",
}


@dataclass(frozen=True)
class Case:
    """Series, one value a minute, with which an alert rings, and others with which it does not."""

    rings: Mapping[str, str]
    silent: Mapping[str, str]
    minutes: int = 90


def histogram(name: str, labels: str, bounds: list[str], counts: list[int]) -> dict[str, str]:
    """A histogram whose buckets grow by `counts` a minute."""
    return {
        f'{name}_bucket{{{labels},le="{bound}"}}': f"0+{count}x90"
        for bound, count in zip(bounds, counts, strict=True)
    }


DAY = 1440
P, M = '{instance="p:1"}', '{instance="m:1"}'
CASES = {
    "SmtpnicForked": Case(
        {'smtpnic_follower_phase{instance="m:1",phase="forked"}': "1x90"},
        {
            f"smtpnic_forked{P}": "0x90",
            'smtpnic_follower_phase{instance="m:1",phase="following"}': "1x90",
            'smtpnic_condition{instance="m:1",condition="good"}': "1x90",
        },
    ),
    "SmtpnicPrimaryBehindMirrors": Case(
        {f"smtpnic_behind_mirrors{P}": "1x90"}, {f"smtpnic_behind_mirrors{P}": "0x90"}
    ),
    "SmtpnicCosignaturesRefused": Case(
        {'smtpnic_cosignatures_refused_total{instance="p:1",why="key"}': "0x80 1x9"},
        {'smtpnic_cosignatures_refused_total{instance="p:1",why="key"}': "7x90"},
    ),
    "SmtpnicUnsignedData": Case(
        {f"smtpnic_replica_refused_total{M}": "0x80 1x9"},
        {
            f"smtpnic_replica_refused_total{M}": "1x90",
            f"smtpnic_view_diverged_total{M}": "0x90",
            'smtpnic_follower_refused_total{instance="m:1",error="ForkError"}': "2x90",
        },
    ),
    "SmtpnicStrangerInEtcd": Case(
        {f"smtpnic_strange_revisions_total{M}": "0x80 1x9"},
        {f"smtpnic_strange_revisions_total{M}": "3x90"},
    ),
    "SmtpnicRootExpires": Case(
        {f"smtpnic_root_expires_timestamp_seconds{M}": f"{51 * 86400}x90"},
        {f"smtpnic_root_expires_timestamp_seconds{M}": f"{53 * 86400}x90"},
    ),
    "SmtpnicRootsDiffer": Case(
        {f"smtpnic_root_version{P}": "3x90", f"smtpnic_root_version{M}": "2x90"},
        {f"smtpnic_root_version{P}": "2x60 3x30", f"smtpnic_root_version{M}": "2x70 3x20"},
    ),
    "SmtpnicCertificateExpires": Case(
        {'smtpnic_certificate_expires_days{instance="m:1",certificate="node"}': "19x90"},
        {
            'smtpnic_certificate_expires_days{instance="m:1",certificate="node"}': "21x90",
            'smtpnic_certificate_expires_days{instance="m:1",certificate="authority"}': "200x90",
        },
    ),
    "SmtpnicDown": Case(
        {'up{job="smtpnic-dns",instance="m:1"}': "1x80 0x9"},
        {'up{job="smtpnic-dns",instance="m:1"}': "1x90", 'up{job="node",instance="m:2"}': "0x90"},
    ),
    "SmtpnicNotLoaded": Case(
        {f"smtpnic_view_loaded{M}": "0x90"}, {f"smtpnic_view_loaded{M}": "0x2 1x90"}
    ),
    "SmtpnicOutOfRotation": Case(
        {'smtpnic_condition{instance="m:1",condition="behind"}': "1x90"},
        {f"smtpnic_follower_out_of_rotation{M}": "0x90"},
    ),
    "SmtpnicStale": Case(
        {f"smtpnic_vouched_timestamp_seconds{M}": "0x90"},
        {f"smtpnic_vouched_timestamp_seconds{M}": "0+60x90"},
    ),
    "SmtpnicNearlyTooStale": Case(
        # Before the test's own beginning of time, so that it need not last ten days.
        {f"smtpnic_answers_until_timestamp_seconds{M}": f"{4 * 86400 - 60}x90"},
        {f"smtpnic_answers_until_timestamp_seconds{M}": f"{5 * 86400}x90"},
    ),
    "SmtpnicServfail": Case(
        {
            'smtpnic_dns_answers_total{instance="m:1",type="A",rcode="SERVFAIL"}': "0+2x90",
            'smtpnic_dns_answers_total{instance="m:1",type="A",rcode="NXDOMAIN"}': "0+98x90",
        },
        {
            'smtpnic_dns_answers_total{instance="m:1",type="A",rcode="SERVFAIL"}': "0+1x90",
            'smtpnic_dns_answers_total{instance="m:1",type="A",rcode="NXDOMAIN"}': "0+999x90",
        },
    ),
    "SmtpnicDnsFails": Case(
        {'smtpnic_dns_failed_total{instance="m:1",transport="udp"}': "0x80 1x9"},
        {'smtpnic_dns_failed_total{instance="m:1",transport="udp"}': "1x90"},
    ),
    "SmtpnicDnsSlow": Case(
        histogram(
            "smtpnic_dns_answer_seconds",
            'instance="m:1",transport="udp"',
            ["0.032768", "0.065536", "0.131072", "+Inf"],
            [900, 900, 1000, 1000],
        ),
        histogram(
            "smtpnic_dns_answer_seconds",
            'instance="m:1",transport="udp"',
            ["0.032768", "0.065536", "0.131072", "+Inf"],
            [999, 999, 1000, 1000],
        ),
    ),
    "SmtpnicFlood": Case(
        {'smtpnic_dns_limited_total{instance="m:1",kind="negative"}': "0+66000x90"},
        {'smtpnic_dns_limited_total{instance="m:1",kind="negative"}': "0+6000x90"},
    ),
    "SmtpnicRestarts": Case(
        {'process_start_time_seconds{job="smtpnic-dns",instance="m:1"}': "0x50 1 2 3 4 5 6x40"},
        {'process_start_time_seconds{job="smtpnic-dns",instance="m:1"}': "0x50 1x40"},
    ),
    "SmtpnicNotFollowing": Case(
        {'smtpnic_follower_phase{instance="m:1",phase="following"}': "0x90"},
        {'smtpnic_follower_phase{instance="m:1",phase="following"}': "1x84 0x6"},
    ),
    "SmtpnicLag": Case(
        {f"smtpnic_follower_lag_seconds{M}": "0+60x90"},
        {f"smtpnic_follower_lag_seconds{M}": "5x90"},
    ),
    "SmtpnicSubscriberBehind": Case(
        {'smtpnic_subscriber_lag{instance="p:1",node="mirror-1"}': "2000x90"},
        {'smtpnic_subscriber_lag{instance="p:1",node="mirror-1"}': "2000x86 0x4"},
    ),
    "SmtpnicMirrorSilent": Case(
        {'smtpnic_mirror_cosigned_timestamp_seconds{instance="p:1",node="m"}': "0x90"},
        {'smtpnic_mirror_cosigned_timestamp_seconds{instance="p:1",node="m"}': "0+60x90"},
    ),
    "SmtpnicEtcdAway": Case({f"smtpnic_etcd_up{M}": "0x90"}, {f"smtpnic_etcd_up{M}": "1x90"}),
    "SmtpnicEtcdFull": Case(
        {f"smtpnic_etcd_db_bytes{M}": "81x90", f"smtpnic_etcd_quota_bytes{M}": "100x90"},
        {
            f"smtpnic_etcd_db_bytes{M}": "79x90",
            f"smtpnic_etcd_quota_bytes{M}": "100x90",
            f"smtpnic_etcd_alarms{M}": "0x90",
        },
    ),
    "SmtpnicEtcdSlow": Case(
        histogram(
            "smtpnic_etcd_seconds",
            'instance="m:1",operation="Txn"',
            ["0.25", "1.0", "+Inf"],
            [90, 100, 100],
        ),
        histogram(
            "smtpnic_etcd_seconds",
            'instance="m:1",operation="Txn"',
            ["0.25", "1.0", "+Inf"],
            [100, 100, 100],
        ),
    ),
    "SmtpnicCommitSlow": Case(
        histogram(
            "smtpnic_commit_seconds", 'instance="p:1"', ["0.25", "1.0", "+Inf"], [90, 100, 100]
        ),
        histogram(
            "smtpnic_commit_seconds", 'instance="p:1"', ["0.25", "1.0", "+Inf"], [100, 100, 100]
        ),
    ),
    "SmtpnicQueue": Case(
        {f"smtpnic_queue_depth{P}": "7000x90"}, {f"smtpnic_queue_depth{P}": "100x89 7000x1"}
    ),
    "SmtpnicTilesBehind": Case(
        {f"smtpnic_log_size{P}": "200000x90", f"smtpnic_tiles_size{P}": "1x90"},
        {
            f"smtpnic_log_size{P}": "200000x90",
            f"smtpnic_tiles_size{P}": "199999x90",
            f"smtpnic_log_size{M}": "1x90",
        },
    ),
    "SmtpnicDiskFull": Case(
        {f"smtpnic_disk_free_bytes{M}": "9x90", f"smtpnic_disk_size_bytes{M}": "100x90"},
        {f"smtpnic_disk_free_bytes{M}": "11x90", f"smtpnic_disk_size_bytes{M}": "100x90"},
    ),
    "SmtpnicLapsesHeldBack": Case(
        {f"smtpnic_lapses_held_back{P}": "1x90"}, {f"smtpnic_lapses_held_back{P}": "0x90"}
    ),
    "SmtpnicSetSmall": Case(
        {f"smtpnic_set_size{P}": "1x90", f"smtpnic_set_admitted{P}": "3x90"},
        {f"smtpnic_set_size{P}": "2x90", f"smtpnic_set_admitted{P}": "3x90"},
    ),
    "SmtpnicVersionsDiffer": Case(
        {
            'smtpnic_build_info{instance="p:1",role="primary",version="0.2.0"}': f"1x{3 * DAY}",
            'smtpnic_build_info{instance="m:1",role="dns",version="0.1.0"}': f"1x{3 * DAY}",
        },
        {
            'smtpnic_build_info{instance="p:1",role="primary",version="0.2.0"}': f"1x{3 * DAY}",
            'smtpnic_build_info{instance="m:1",role="dns",version="0.2.0"}': f"1x{3 * DAY}",
        },
        minutes=2 * DAY + 10,
    ),
}


def promtool_tests() -> Iterator[dict[str, object]]:
    for name, case in CASES.items():
        for series, expected in ((case.rings, 1), (case.silent, 0)):
            firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
            yield {
                "name": name,
                "interval": "1m",
                "input_series": [
                    {"series": one, "values": values} for one, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": firing,
                        "eval_time": f"{case.minutes}m",
                        "exp_samples": [{"labels": "{}", "value": expected}],
                    }
                ],
            }


def test_every_alert_rings_and_is_silent_when_it_should(tmp_path: Path) -> None:
    """Asked of promtool, which evaluates the rules as Prometheus does."""
    tests = tmp_path / "tests.json"
    suite = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": list(promtool_tests()),
    }
    tests.write_text(json.dumps(suite), encoding="utf-8")

    done = subprocess.run(
        ["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert set(CASES) == set(alerts())


def test_what_an_alert_says_can_be_rendered(tmp_path: Path) -> None:
    """A summary names the node, and its values as people read them."""
    tests = tmp_path / "tests.json"
    said = {
        "summary": "m:1: 9% of the disk is left",
        "runbook": "docs/runbooks/SmtpnicDiskFull.md",
    }
    case = CASES["SmtpnicDiskFull"].rings
    suite = {
        "rule_files": [str(ALERTS)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": one, "values": text} for one, text in case.items()],
                "alert_rule_test": [
                    {
                        "eval_time": "60m",
                        "alertname": "SmtpnicDiskFull",
                        "exp_alerts": [
                            {
                                "exp_labels": {"severity": "warning", "instance": "m:1"},
                                "exp_annotations": said,
                            }
                        ],
                    }
                ],
            }
        ],
    }
    tests.write_text(json.dumps(suite), encoding="utf-8")

    done = subprocess.run(
        ["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_runbook(name: str) -> None:
    """Its page says what it means, what to look at, what to do; the alert leads there."""
    rule = alerts()[name]
    page = ROOT / rule["annotations"]["runbook"]
    text = page.read_text(encoding="utf-8")

    assert SECTIONS == [line for line in text.splitlines() if line.startswith("## ")]
    assert f"`{name}`" in text
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_runbook_is_of_an_alert() -> None:
    """No page is left of an alert that is gone, and the list of them is whole."""
    pages = {Path(rule["annotations"]["runbook"]).name for rule in alerts().values()}
    listed = (RUNBOOKS / "README.md").read_text(encoding="utf-8")

    assert pages == {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert [] == [page for page in pages if f"({page})" not in listed]


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    """What nobody shows would never ring, and its panel would stay empty."""
    known = set(metric_names()) | GIVEN
    asked = {name: metrics_in(rule["expr"]) for name, rule in alerts().items()}
    asked |= {title: metrics_in(query) for title, query in dashboard_queries()}

    assert {} == {name: found - known for name, found in asked.items() if found - known}
    assert json.loads(DASHBOARD.read_text(encoding="utf-8"))["title"] == "SMTP Registry"


def test_runbooks_name_what_there_is() -> None:
    """Metrics, log events: who looks for them finds them."""
    text = "".join(page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md"))
    sources = "".join(
        path.read_text(encoding="utf-8")
        for package in ("primary", "secondary", "node")
        for path in (ROOT / package).rglob("*.py")
    )
    events = set(re.findall(r"`([a-z]+\.[a-z_]+)`", re.sub(r"`[a-z_]+\.(?:key|toml)`", "", text)))
    settings = {"etcd.quota_bytes", "whois.pause_seconds", "log.old_entries"} | {
        "dns.positive_limit",
    }

    assert set() == metrics_in(text) - set(metric_names()) - GIVEN
    assert [] == [event for event in events - settings if f'"{event}"' not in sources]
