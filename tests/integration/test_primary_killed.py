"""P1: what the primary acknowledged is never lost, wherever a kill -9 hits it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from lab.cluster import Cluster
from lab.process import program, run
from registry.wire.v1 import registration_pb2
from tests.support.registrant import Acknowledged, Registrant, addresses, secure_channel
from tests.support.wait import wait_until

STAGES = [
    "commit.before_transaction",
    "commit.in_transaction",
    "commit.after_transaction",
    "commit.before_sync",
    "commit.after_sync",
    "commit.before_acknowledge",
]
WRITERS = 4
# What a client hears of a primary that is dying or not there.
WHILE_DOWN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
RANDOM_KILLS = int(os.environ.get("SMTPNIC_KILLS", "100"))
# A kill and a start, on a machine that does other things too.
KILL_SECONDS = 15
# Of the time between the first acknowledgement after a start and the kill.
MAX_LIFE_SECONDS = 0.5


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, secondaries=0) as cluster:
        cluster.prepare()
        yield cluster


def channel_to(cluster: Cluster) -> grpc.Channel:
    return secure_channel(cluster.public, cluster.ca, cluster.primary_address)


def assert_nothing_lost(cluster: Cluster, acknowledged: list[Acknowledged]) -> None:
    """Every acknowledged change has its own index, and the register holds it there."""
    indexes = [done.index for done in acknowledged]
    assert len(set(indexes)) == len(indexes), "one index was given to two changes"
    with channel_to(cluster) as channel:
        stub = Registrant(channel).stub
        for done in acknowledged:
            view = stub.Get(registration_pb2.GetRequest(address=done.address), timeout=10)
            assert (view.version, view.registration.host) == (done.index, done.host)
    run([program("smtpnic-primary"), "check", "-c", str(cluster.primary_dir / "primary.toml")])


@pytest.mark.parametrize("stage", STAGES)
def test_kill_at_every_stage_of_a_commit(cluster: Cluster, stage: str) -> None:
    """Killed at a stage of a commit, it starts again with all that it had acknowledged."""
    source = addresses()
    cluster.start_primary()
    with channel_to(cluster) as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        registrant.register(next(source))
    cluster.primary.stop()

    cluster.start_primary({"SMTPNIC_FAILPOINT": f"{stage}:2"})
    with channel_to(cluster) as channel:
        second = Registrant(channel, registrant.holder_id, registrant.management_key)
        second.register(next(source))
        with pytest.raises(grpc.RpcError):
            second.register(next(source))
    assert cluster.primary.wait() == -9

    cluster.start_primary()
    assert_nothing_lost(cluster, registrant.acknowledged + second.acknowledged)


class Writers:
    """Threads that register without pause, through every restart of the primary."""

    def __init__(self, cluster: Cluster, holder: Registrant) -> None:
        self.cluster = cluster
        self.holder = holder
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[grpc.RpcError] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _write(self, number: int) -> None:
        source = addresses(f"10.{number}")
        with channel_to(self.cluster) as channel:
            registrant = Registrant(channel, self.holder.holder_id, self.holder.management_key)
            while not self._stop.is_set():
                try:
                    self.acknowledged.append(registrant.register(next(source)))
                except grpc.RpcError as error:
                    if error.code() not in WHILE_DOWN:
                        self.refused.append(error)
                    self._stop.wait(0.02)


@pytest.mark.timeout(RANDOM_KILLS * KILL_SECONDS)
def test_kill_at_random_under_writers(cluster: Cluster) -> None:
    """Killed again and again under concurrent writers: nothing lost, no index given twice."""
    moments = random.Random()
    cluster.start_primary()
    with channel_to(cluster) as channel:
        holder = Registrant(channel)
        holder.create_holder()
    with Writers(cluster, holder) as writers:
        for kill in range(RANDOM_KILLS):
            before = len(writers.acknowledged)
            wait_until(
                lambda before=before: len(writers.acknowledged) > before,  # type: ignore[misc]
                seconds=60,
                what=f"an acknowledgement after kill {kill}",
            )
            time.sleep(moments.uniform(0, MAX_LIFE_SECONDS))
            cluster.primary.kill()
            cluster.start_primary()
    assert writers.refused == []
    assert len(writers.acknowledged) >= RANDOM_KILLS
    assert_nothing_lost(cluster, writers.acknowledged)
