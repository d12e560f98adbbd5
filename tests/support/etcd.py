"""A real etcd of a test's own, on free loopback ports, with its default durability."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc

from secondary import etcdrpc
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError, EtcdFull
from tests.support.wait import wait_until

START_SECONDS = 30
STOP_SECONDS = 20
FILL_SECONDS = 60
FILLING_BYTES = 1_000_000


class EtcdProcess:
    """An etcd that can be stopped, killed and started again on the same data and ports."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Prepare; `options` are further arguments of etcd."""
        program = shutil.which("etcd")
        assert program, "no etcd on PATH: install the Debian package etcd-server"
        client, peer = _free_ports(2)
        peer_url = f"http://127.0.0.1:{peer}"
        self.endpoint = f"127.0.0.1:{client}"
        self._log = directory / "etcd.log"
        self._command = [
            program,
            *("--name", "test", "--data-dir", str(directory / "etcd")),
            *("--listen-client-urls", f"http://{self.endpoint}"),
            *("--advertise-client-urls", f"http://{self.endpoint}"),
            *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
            *("--initial-cluster", f"test={peer_url}"),
            *("--logger", "zap", "--log-level", "warn"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        wait_until(self.answers, seconds=START_SECONDS, what=f"etcd answers; see {self._log}")

    def answers(self) -> bool:
        """Whether it has a leader and answers."""
        store = EtcdStore([self.endpoint], call_seconds=1)
        try:
            return store.status().has_leader
        except EtcdError:
            return False
        finally:
            store.close()

    def fill(self, key: bytes) -> None:
        """Put `FILLING_BYTES` at `key`, again and again, until it is full and has raised its alarm.

        It counts its size when it commits a batch, ten times a second: until then a quick disk
        takes far more than the quota, so no number of puts is sure to be enough.
        """
        with closing(EtcdStore([self.endpoint], call_seconds=FILL_SECONDS)) as store:
            wait_until(
                lambda: not _takes(store, key), seconds=FILL_SECONDS, what="etcd takes no more"
            )
            wait_until(
                lambda: "NOSPACE" in store.status().alarms, seconds=FILL_SECONDS, what="the alarm"
            )

    def make_room(self) -> None:
        """What an operator does when it is full."""
        make_room(self.endpoint)

    def stop(self) -> None:
        """End it in order; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It does not run within the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It stands still within the block: connections stay, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_etcd(directory: Path, *options: str) -> Iterator[EtcdProcess]:
    """A fresh etcd below `directory`; it ends with the block."""
    etcd = EtcdProcess(directory, *options)
    etcd.start()
    try:
        yield etcd
    finally:
        etcd.stop()


def _takes(store: EtcdStore, key: bytes) -> bool:
    try:
        store.txn([], [(key, bytes(FILLING_BYTES))])
    except EtcdFull:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def make_room(endpoint: str) -> None:
    """Compact, defragment, disarm: of what was before nothing is left in the database."""
    with grpc.insecure_channel(endpoint) as channel:
        kv, maintenance = etcdrpc.KVStub(channel), etcdrpc.MaintenanceStub(channel)
        revision = kv.Range(etcdrpc.RangeRequest(key=b"x")).header.revision
        kv.Compact(etcdrpc.CompactionRequest(revision=revision, physical=True))
        maintenance.Defragment(etcdrpc.DefragmentRequest())
        for raised in maintenance.Alarm(etcdrpc.AlarmRequest()).alarms:
            disarm = etcdrpc.AlarmRequest(
                action=etcdrpc.AlarmRequest.DEACTIVATE,
                memberID=raised.memberID,
                alarm=raised.alarm,
            )
            maintenance.Alarm(disarm)
