"""Anyone's tools read the log at the primary and at a secondary that began with a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from lab.cluster import LOG_PORT, PRIMARY_LOG_PORT, Cluster
from registry.tiles import TILE_WIDTH
from secondary.roots import Roots
from secondary.settings import SecondarySettings
from tests.support.log_reader import LogReader
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.wait import wait_until

SECONDS = 90.0
CHANGES = TILE_WIDTH + 50
PRIMARY = {
    "SMTPNIC_PRIMARY_FRESHNESS_SECONDS": "0.3",
    # A new secondary begins with a snapshot.
    "SMTPNIC_PRIMARY_STREAM_LIMIT": "100",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary with some hundred entries, and two secondaries: one fetches no old entries."""
    with Cluster(tmp_path_factory.mktemp("log"), 2, primary_env=PRIMARY) as cluster:
        cluster.prepare()
        cluster.start_primary()
        change(cluster, CHANGES)
        cluster.secondaries[1].process.env["SMTPNIC_SECONDARY_LOG__OLD_ENTRIES"] = "0"
        cluster.start_secondaries()
        yield cluster


def change(cluster: Cluster, count: int, prefix: str = "198.18") -> None:
    with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        for address in islice(addresses(prefix), count):
            registrant.register(address)


def keys(cluster: Cluster) -> Roots:
    return Roots.load(SecondarySettings.load(cluster.secondaries[0].settings_file))


def primary_log(cluster: Cluster) -> LogReader:
    return LogReader(f"http://{cluster.primary_address}:{PRIMARY_LOG_PORT}", keys(cluster))


def mirror_log(cluster: Cluster, number: int) -> LogReader:
    address = cluster.secondaries[number].address
    return LogReader(f"http://{address}:{LOG_PORT}", keys(cluster))


def test_the_primarys_log(cluster: Cluster) -> None:
    """Checkpoint, tiles and entries hold together; beyond the log there is nothing."""
    log = primary_log(cluster)
    size = log.check().size
    assert size > CHANGES
    assert 404 == log.status(f"tile/0/{size // TILE_WIDTH + 1:03}")
    assert 404 == log.status(f"tile/entries/{size // TILE_WIDTH + 1:03}")


def test_a_mirrors_log(cluster: Cluster) -> None:
    """What the snapshot left out is fetched and checked; the same bytes as at the primary."""
    log, size = mirror_log(cluster, 0), primary_log(cluster).checkpoint().size
    wait_until(
        lambda: log.size() >= size and log.status("tile/entries/000") == 200,
        seconds=SECONDS,
        what="the old entries",
    )
    # The bundle at hand began within the snapshot: it is whole once it is full.
    change(cluster, TILE_WIDTH // 2, "198.19")
    size = primary_log(cluster).checkpoint().size
    end = size - size % TILE_WIDTH
    wait_until(
        lambda: log.size() >= size and log.has_entries(end),
        seconds=SECONDS,
        what="every full bundle",
    )
    assert primary_log(cluster).entries(end) == log.entries(end)


def test_what_a_mirror_does_not_have(cluster: Cluster) -> None:
    """Without old entries: every tile, and 404 for the bundles before the snapshot."""
    log = mirror_log(cluster, 1)
    wait_until(lambda: log.size() > CHANGES, seconds=SECONDS, what="a cosigned checkpoint")
    assert 200 == log.status("tile/0/000")
    assert 404 == log.status("tile/entries/000")
