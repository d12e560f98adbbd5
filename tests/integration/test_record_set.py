"""The A record set of a whole cluster: admission, health, draining, removal; real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import dns.message
import dns.query
import pytest

from lab.cluster import DNS_PORT, Cluster, Secondary
from lab.process import program, run
from tests.support.founder import decide
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
STABLE = "192.0.2.1"
PRIMARY_ENV = {
    "SMTPNIC_PRIMARY_SET__DNS_PORT": str(DNS_PORT),
    "SMTPNIC_PRIMARY_SET__ROUND_SECONDS": "0.3",
    "SMTPNIC_PRIMARY_SET__SECONDS_PER_CHANGE": "0.1",
    "SMTPNIC_PRIMARY_SET__FLOOR": "1",
}
SECONDARY_ENV = {
    "SMTPNIC_SECONDARY_DNS__SERVER_ZONE": "smtpnic.net",
    "SMTPNIC_SECONDARY_DNS__SERVER_HOSTS": json.dumps({"ns1.smtpnic.net": [STABLE]}),
    "SMTPNIC_SECONDARY_SET__ANNOUNCE_SECONDS": "0.3",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("set") / "cluster"
    with Cluster(root, 3, primary_env=PRIMARY_ENV, secondary_env=SECONDARY_ENV) as cluster:
        cluster.prepare()
        cluster.start_primary()
        for number, secondary in enumerate(cluster.secondaries):
            start(secondary, number)
        for secondary in cluster.secondaries:
            cluster.wait_secondary(secondary)
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            registrant.register("198.51.100.7")
        yield cluster


def start(secondary: Secondary, number: int) -> None:
    """With an address, an operator and a region of its own."""
    secondary.process.start(
        {
            "SMTPNIC_SECONDARY_SET__ADDRESSES": json.dumps([secondary.address]),
            "SMTPNIC_SECONDARY_SET__OPERATOR": f"operator {number}",
            "SMTPNIC_SECONDARY_SET__REGION": ["eu", "us", "ap"][number],
        }
    )


def in_set(asked: Secondary) -> set[str]:
    """The addresses that both names have, as a mirror answers."""
    found = set()
    for place in ("a", "b"):
        query = dns.message.make_query(f"{place}.ns.smtpnic.net", "A")
        answer = dns.query.udp(query, asked.address, port=DNS_PORT, timeout=5)
        found |= {data.to_text() for rrset in answer.answer for data in rrset}
    return found


def wait_for_set(cluster: Cluster, *numbers: int, asked: int = 0) -> None:
    """Until a mirror sends resolvers to exactly these."""
    expected = {cluster.secondaries[number].address for number in numbers}
    wait_until(
        lambda: expected == in_set(cluster.secondaries[asked]),
        seconds=SECONDS,
        what=f"the set of {sorted(expected)}",
    )


def secondary_says(secondary: Secondary) -> Any:
    """Its own `status`."""
    command = [program("smtpnic-secondary"), "status", "--json", "-c", str(secondary.settings_file)]
    return json.loads(run(command))["set"]


def primary_says(cluster: Cluster) -> dict[str, Any]:
    """What the primary's `status` says of each member."""
    config = cluster.primary_dir / "primary.toml"
    said = json.loads(run([program("smtpnic-primary"), "status", "--json", "-c", str(config)]))
    return {one["name"]: one for one in said["set"]}


def glue_changes(cluster: Cluster, command: list[str]) -> list[str]:
    """What `board glue-diff` says has to be added."""
    env = {"PATH": "/usr/bin:/bin", **cluster.cli_env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return [each["record"] for each in json.loads(done.stdout)["changes"] if each["act"] == "add"]


def test_the_board_admits_and_health_decides(cluster: Cluster) -> None:
    """From the first admission on: drained, dead, back, removed; each is seen in every zone."""
    first, second, third = cluster.secondaries
    assert {STABLE} == in_set(first)
    for secondary in cluster.secondaries:
        decide(cluster, "admit", secondary.name)
    wait_for_set(cluster, 0, 1, 2)
    wait_for_set(cluster, 0, 1, 2, asked=2)

    run([program("smtpnic-secondary"), "drain", "-c", str(second.settings_file)])
    wait_for_set(cluster, 0, 2)
    wait_until(
        lambda: "drained" in secondary_says(second)["reason"], seconds=SECONDS, what="the reason"
    )
    assert ([], True) == (secondary_says(second)["places"], secondary_says(second)["draining"])
    health = [program("smtpnic-secondary"), "health", "-c", str(second.settings_file)]
    assert 1 == subprocess.run(health, check=False, capture_output=True).returncode
    run([program("smtpnic-secondary"), "undrain", "-c", str(second.settings_file)])
    wait_for_set(cluster, 0, 1, 2)
    assert "well\n" == run(health)

    # A parent that says the same as the mirror: another mirror.
    command = [program("smtpnic"), "board", "glue-diff", "smtpnic.net", "--json"]
    servers = [f"--server={first.address}:{DNS_PORT}", f"--parent={second.address}:{DNS_PORT}"]
    assert [f"ns1.smtpnic.net. A {STABLE}"] == glue_changes(cluster, [*command, *servers])

    third.process.stop()
    wait_for_set(cluster, 0, 1)
    assert [] == primary_says(cluster)["mirror-3"]["places"]
    assert primary_says(cluster)["mirror-3"]["reason"]
    start(third, 2)
    cluster.wait_secondary(third)
    wait_for_set(cluster, 0, 1, 2)

    decide(cluster, "remove", first.name)
    wait_for_set(cluster, 1, 2, asked=1)
    assert {"mirror-2", "mirror-3"} == set(primary_says(cluster))
    cluster.primary.stop()
    assert {second.address, third.address} == in_set(second)
