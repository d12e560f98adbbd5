"""A cluster whose register is filled before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from lab.asking import wait_for
from lab.cluster import PRIMARY_HTTP_PORT, Cluster, Secondary, ready
from lab.people import addresses
from lab.process import LabError, program, run

FILL_SECONDS: Final = 1800.0
# A register of a million loads for minutes when five secondaries share two cores.
LOAD_SECONDS: Final = 900.0
# A secondary that lacks more entries than this begins with a snapshot.
STREAM_LIMIT: Final = 10_000

_PRIMARY_ENV: Final = {
    "SMTPNIC_PRIMARY_STREAM_LIMIT": str(STREAM_LIMIT),
    # Only the one that is asked for.
    "SMTPNIC_PRIMARY_SNAPSHOT_EVERY": str(10**9),
}
_SECONDARY_ENV: Final = {
    "SMTPNIC_SECONDARY_LOG_FORMAT": "json",
    # Fetching what the snapshot left out goes on for minutes, and is not what is measured.
    "SMTPNIC_SECONDARY_LOG__OLD_ENTRIES": "0",
}


@contextmanager
def filled_cluster(root: Path, registrations: int, secondaries: int) -> Iterator[Cluster]:
    """A running primary with so many registrations; its secondaries are still to be started."""
    cluster = Cluster(root, secondaries, primary_env=_PRIMARY_ENV, secondary_env=_SECONDARY_ENV)
    with cluster:
        cluster.prepare()
        settings = str(cluster.primary_dir / "primary.toml")
        fill = [program("python"), "-m", "bench.fill", settings, str(registrations)]
        run(fill, seconds=FILL_SECONDS)
        start_primary(cluster)
        if registrations >= STREAM_LIMIT:
            run([program("smtpnic-primary"), "snapshot", "-c", settings], seconds=LOAD_SECONDS)
        yield cluster


def start_primary(cluster: Cluster) -> float:
    """Starts the primary; seconds until it takes registrations."""
    cluster.primary.start()
    return wait_for(
        lambda: _alive(cluster) and ready(cluster.primary_address, PRIMARY_HTTP_PORT),
        LOAD_SECONDS,
        "the primary is ready",
    )


def start_secondary(secondary: Secondary, address: str) -> float:
    """Starts a secondary; seconds until its DNS answers for `address`."""
    secondary.process.start()
    return wait_visible(secondary, address)


def wait_visible(secondary: Secondary, address: str) -> float:
    """Seconds until its DNS answers for `address`."""

    def answers() -> bool:
        if not secondary.process.running:
            raise LabError(f"{secondary.name} ended\n{secondary.process.tail()}")
        return secondary.ask_dns(address) == "registered"

    return wait_for(answers, LOAD_SECONDS, f"{secondary.name} answers for {address}")


def last_address(registrations: int) -> str:
    """The address that was registered last."""
    return next(islice(addresses(), registrations - 1, None))


def _alive(cluster: Cluster) -> bool:
    if not cluster.primary.running:
        raise LabError(f"the primary ended\n{cluster.primary.tail()}")
    return True
