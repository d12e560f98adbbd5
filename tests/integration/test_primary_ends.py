"""How a primary ends: drained by SIGTERM, or fenced by another one."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from lab.cluster import loopback_network
from lab.process import LabProcess, program
from registry.merkle import EMPTY_ROOT
from registry.wire.v1 import registration_pb2 as pb
from registry.wire.v1 import replication_pb2
from registry.wire.v1.registration_pb2_grpc import RegistryStub
from registry.wire.v1.replication_pb2_grpc import ReplicationStub
from tests.support.primaries import RunningPrimary, running_primary
from tests.support.registrant import Registrant, addresses, secure_channel
from tests.support.wait import wait_until

SECONDS = 30.0
CHANGES_A_REQUEST = 50


class _Load(threading.Thread):
    """Submits registrations without end, and keeps those that were acknowledged."""

    def __init__(self, registrant: Registrant) -> None:
        super().__init__()
        self.registrant = registrant
        self.acknowledged: dict[str, int] = {}
        self.ended_with: grpc.StatusCode | None = None
        self._sent: list[list[str]] = []
        self._source = addresses()

    def run(self) -> None:
        try:
            for answer in self.registrant.stub.Submit(self._requests(), timeout=SECONDS):
                made = self._sent.pop(0)
                for address, outcome in zip(made, answer.outcomes, strict=True):
                    self.acknowledged[address] = outcome.index
        except grpc.RpcError as error:
            call: BaseException = error
            assert isinstance(call, grpc.Call)
            self.ended_with = call.code()

    def _requests(self) -> Iterator[pb.SubmitRequest]:
        while True:
            made = [next(self._source) for _ in range(CHANGES_A_REQUEST)]
            self._sent.append(made)
            yield pb.SubmitRequest(changes=[pb.Change(register=self._change(a)) for a in made])

    def _change(self, address: str) -> pb.RegisterRequest:
        return pb.RegisterRequest(
            holder_id=self.registrant.holder_id,
            management_key=self.registrant.management_key,
            address=address,
            host="mail.example.org",
            domain="example.org",
        )


def test_sigterm_drains(tmp_path: Path) -> None:
    """Under load it ends with 0, soon; streams are told, and what it acknowledged is there."""
    with running_primary(tmp_path) as primary:
        with primary.public_channel() as channel, primary.node_channel() as nodes:
            registrant = Registrant(channel)
            registrant.create_holder()
            load = _Load(registrant)
            load.start()
            request = replication_pb2.SubscribeRequest(size=0, root_hash=EMPTY_ROOT)
            events = ReplicationStub(nodes).Subscribe(request, timeout=SECONDS)
            wait_until(lambda: len(load.acknowledged) > 500, seconds=SECONDS, what="load")
            process = primary.cluster.primary
            process.signal(signal.SIGTERM)
            last = _drained(events)
            load.join(SECONDS)
            assert 0 == process.wait()
        assert grpc.StatusCode.UNAVAILABLE == load.ended_with
        assert max(load.acknowledged.values()) < last
        primary.cluster.start_primary()
        with primary.public_channel() as channel:
            found = _versions(RegistryStub(channel))
        assert load.acknowledged == {a: found.get(a) for a in load.acknowledged}


def _drained(events: Iterator[replication_pb2.SubscribeResponse]) -> int:
    """The log's size after the last batch of a stream that the primary ended."""
    size = 0
    try:
        for event in events:
            if event.HasField("batch"):
                size = event.batch.start + len(event.batch.entries)
    except grpc.RpcError as error:
        call: BaseException = error
        assert isinstance(call, grpc.Call)
        assert grpc.StatusCode.UNAVAILABLE == call.code()
    return size


def _versions(stub: RegistryStub) -> dict[str, int]:
    found: dict[str, int] = {}
    request = pb.ListRequest(page_size=1000)
    while True:
        page = stub.List(request, timeout=SECONDS)
        found |= {view.address: view.version for view in page.registrations}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize(
    ("freshness_seconds", "asks"), [(3600, True), (0.1, False)], ids=["asked", "idle"]
)
def test_of_two_primaries_on_one_database_the_fenced_one_ends(
    tmp_path: Path, freshness_seconds: float, asks: bool
) -> None:
    """Only one of them ever commits; the other stops at once, and not with 0.

    Asked for a change it cannot commit it; idle it finds out before it next says that its
    checkpoint is the newest.
    """
    with running_primary(tmp_path) as first, first.public_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        second = _Second(first, tmp_path, freshness_seconds)
        with second.running() as other_channel:
            registrant.register("198.18.0.1")
            if asks:
                other = Registrant(other_channel, registrant.holder_id, registrant.management_key)
                with pytest.raises(grpc.RpcError):
                    other.register("198.18.0.2")
            assert second.process.wait(SECONDS) != 0
        registrant.register("198.18.0.3")
        assert "lead to the signed root" in first.command("check")


class _Second:
    """Another primary with the first one's keys and database, and its own files."""

    def __init__(self, first: RunningPrimary, root: Path, freshness_seconds: float) -> None:
        self._first = first
        directory = root / "second"
        ignored = shutil.ignore_patterns("run", "*.sqlite3*")
        shutil.copytree(first.cluster.primary_dir, directory, ignore=ignored)
        address = f"{loopback_network()}.10"
        database = first.cluster.primary_dir / "data/registry.sqlite3"
        self._public = f"{address}:7441"
        self.process = LabProcess(
            "second",
            [program("smtpnic-primary"), "run", "-c", str(directory / "primary.toml")],
            root / "second.log",
            {
                "SMTPNIC_PRIMARY_STORE": f"sqlite:///{database}",
                "SMTPNIC_PRIMARY_FRESHNESS_SECONDS": str(freshness_seconds),
                "SMTPNIC_PRIMARY_PUBLIC__LISTEN": self._public,
                "SMTPNIC_PRIMARY_NODES__LISTEN": f"{address}:7442",
                "SMTPNIC_PRIMARY_HTTP__LISTEN": f"{address}:7440",
                "SMTPNIC_PRIMARY_LOG__LISTEN": f"{address}:7444",
            },
        )

    @contextmanager
    def running(self) -> Iterator[grpc.Channel]:
        """Its public listener, once it answers."""
        self.process.start()
        cluster = self._first.cluster
        try:
            with secure_channel(self._public, cluster.ca, cluster.primary_address) as channel:
                grpc.channel_ready_future(channel).result(SECONDS)
                yield channel
        finally:
            self.process.kill()
