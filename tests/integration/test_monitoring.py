"""A whole cluster under a real Prometheus: metrics, alerts, dashboard, health over gRPC."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import termios
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lab.cluster import LOG_PORT, PRIMARY_HTTP_PORT, Cluster
from lab.process import program, run
from tests.support.alerts import alerts, dashboard_queries, metrics_in
from tests.support.probe import HTTP_PORTS
from tests.support.prometheus import Prometheus, prometheus_of
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until
from tests.unit.test_docs import metric_names

SECONDS = 60.0
HEALTH_PORTS = {"follower": 7460, "dns": 7461, "whois": 7462}
PRIMARY_HEALTH_PORT = 7463
ADDRESS = "198.18.0.1"
# Of a DNS server that takes queries from an interface; `test_dns_xdp` sees it there.
WITH_AN_INTERFACE = "smtpnic_dns_xdp_dropped_total"
# What a cluster in which all is well, and nobody was refused, has nothing to show of.
NOTHING_YET = {
    "Refused as unsigned",
    "Waiting and refused",
    "Subscribers behind",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary, a mirror with a relay, a registration, and health everywhere."""
    with Cluster(tmp_path_factory.mktemp("monitoring"), secondaries=1) as cluster:
        cluster.primary_env["SMTPNIC_PRIMARY_HTTP__HEALTH"] = (
            f"{cluster.primary_address}:{PRIMARY_HEALTH_PORT}"
        )
        cluster.primary.env |= cluster.primary_env | {"SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.5"}
        for one in cluster.secondaries:
            env = one.process.env
            env["SMTPNIC_SECONDARY_RELAY__LISTEN"] = f"{one.address}:7446"
            env["SMTPNIC_SECONDARY_RDAP__LISTEN"] = f"{one.address}:7447"
            env["SMTPNIC_SECONDARY_PEERS__URLS"] = f'["http://{cluster.primary_address}:7444"]'
            for role, port in HEALTH_PORTS.items():
                env[f"SMTPNIC_SECONDARY_{role.upper()}__HEALTH"] = f"{one.address}:{port}"
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            registrant.register(ADDRESS)
        wait_until(
            lambda: cluster.visible_everywhere(ADDRESS), seconds=SECONDS, what="it is registered"
        )
        wait_until(
            lambda: "smtpnic_etcd_db_bytes" in scraped(cluster),
            seconds=SECONDS,
            what="etcd was asked how large it is",
        )
        yield cluster


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    with prometheus_of(cluster) as prometheus:
        yield prometheus


def scraped(cluster: Cluster) -> set[str]:
    """The names of all metrics that the processes show, those without a value yet too."""
    (mirror,) = cluster.secondaries
    places = [(cluster.primary_address, PRIMARY_HTTP_PORT)]
    places += [(mirror.address, port) for port in HTTP_PORTS.values()]
    found: set[str] = set()
    for address, port in places:
        with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=10) as page:
            found |= set(re.findall(r"^# TYPE (\S+)", page.read().decode(), re.MULTILINE))
    return {name for name in found if not name.endswith("_created")}


def test_what_is_documented_is_what_is_shown(cluster: Cluster) -> None:
    """A real scrape of every role, beside the tables of docs/operations.md."""
    shown = {name for name in scraped(cluster) if "smtpnic" in name}
    assert set(metric_names()) == shown | {WITH_AN_INTERFACE}


def test_alerts_ask_for_what_is_shown(cluster: Cluster) -> None:
    """Each metric in each expression, `up` apart, which Prometheus makes."""
    shown = scraped(cluster) | {"up"}

    missing = {name: metrics_in(rule["expr"]) - shown for name, rule in alerts().items()}

    assert {} == {name: names for name, names in missing.items() if names}


def test_nothing_rings_where_all_is_well(prometheus: Prometheus) -> None:
    """Prometheus evaluates all rules without an error, and none of them holds.

    The disk's apart: how full the machine is that runs the tests, the cluster does not decide.
    """
    wait_until(
        lambda: prometheus.query("smtpnic_dns_answers_total") != [],
        seconds=SECONDS,
        what="DNS was scraped",
    )

    def rules_found() -> list[dict[str, Any]]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    wait_until(
        lambda: {rule["health"] for rule in rules_found()} == {"ok"},
        seconds=SECONDS,
        what="all rules were evaluated",
    )
    rules = rules_found()

    assert set(alerts()) == {rule["name"] for rule in rules}
    ringing = {rule["name"]: rule["alerts"] for rule in rules if rule["state"] != "inactive"}
    ringing.pop("SmtpnicDiskFull", None)
    assert {} == ringing


def test_every_panel_shows_something(cluster: Cluster, prometheus: Prometheus) -> None:
    """Each query of the dashboard is understood, and gives numbers of a real cluster."""

    def empty() -> set[str]:
        assert cluster.visible_everywhere(ADDRESS)
        return {
            title
            for title, query in dashboard_queries()
            if not prometheus.query(query) and title not in NOTHING_YET
        }

    wait_until(
        lambda: not empty(), seconds=SECONDS, what="every panel has a value", poll_seconds=1.0
    )
    values = prometheus.query('smtpnic_table_size{job="smtpnic-dns"}')
    assert "1" == values[0]["value"][1]


def check(target: str) -> int:
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status
    return status


def test_health_over_grpc_means_ready(cluster: Cluster) -> None:
    """Every role says SERVING in plain text, and the mirror service over TLS."""
    (mirror,) = cluster.secondaries
    serving = health_pb2.HealthCheckResponse.SERVING
    targets = [f"{cluster.primary_address}:{PRIMARY_HEALTH_PORT}"]
    targets += [f"{mirror.address}:{port}" for port in HEALTH_PORTS.values()]

    assert [serving] * 4 == [check(target) for target in targets]
    with secure_channel(mirror.mirror, cluster.ca, mirror.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="smtpnic.v1.Mirror")
        assert serving == stub.Check(request, timeout=10).status


def top_command(cluster: Cluster) -> list[str]:
    (mirror,) = cluster.secondaries
    urls = [f"http://{cluster.primary_address}:{PRIMARY_HTTP_PORT}"]
    urls += [f"http://{mirror.address}:{port}" for port in HTTP_PORTS.values()]
    metrics = [f"--metrics={url}" for url in urls]
    return [program("smtpnic"), "top", *metrics, f"--log=http://{mirror.address}:{LOG_PORT}"]


def test_top_shows_the_cluster_to_programs(cluster: Cluster) -> None:
    """Every node and process, the change that was made, no alarm."""
    found = json.loads(run([*top_command(cluster), "--json"], env=cluster.cli_env))

    assert {"primary": "serving", "mirror": "following"} == {
        one["node"]: one["phase"] for one in found["nodes"]
    }
    assert ["primary", "follower", "dns", "whois"] == [one["role"] for one in found["processes"]]
    assert f"registration {ADDRESS} put" in [one["what"] for one in found["changes"]]
    assert found["queries_per_second"] is not None
    assert [] == found["alarms"]


def test_top_works_without_a_terminal(cluster: Cluster) -> None:
    """It is shown once, as text; what is away is an alarm, and not the end."""
    away = "http://127.0.0.1:1"
    text = run([*top_command(cluster), f"--metrics={away}"], env=cluster.cli_env)

    assert f"registration {ADDRESS} put" in text
    assert f"{away}: no metrics" in text


def test_top_is_live_in_a_terminal_and_ends_with_q(cluster: Cluster) -> None:
    """In a real terminal it goes on until the key is pressed, and leaves it as it was."""
    main, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [*top_command(cluster), "--interval=0.5"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | cluster.cli_env | {"TERM": "xterm", "COLUMNS": "150", "LINES": "50"},
    )
    seen = b""
    try:
        # Two looks: the second has rates.
        while seen.count(b"alarms") < 2 or b"queries a second" not in seen:
            assert select.select([main], [], [], SECONDS)[0], seen
            seen += os.read(main, 65536)
        os.write(main, b"q")
        while process.poll() is None:
            if select.select([main], [], [], 0.1)[0]:
                seen += os.read(main, 65536)
        assert 0 == process.returncode
        assert before == termios.tcgetattr(terminal)
    finally:
        process.kill()
        process.wait()
        os.close(main)
        os.close(terminal)
    assert b"mirror-1" in seen
