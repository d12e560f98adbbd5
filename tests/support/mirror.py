"""A secondary in the middle: what it follows is the test's own, and so may be its etcd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from lab.cluster import RELAY_PORT, Secondary, loopback_network
from lab.process import LabProcess, program
from primary.pki import Authority
from registry.address import Address
from registry.entry import state_key
from registry.kinds import Kind
from registry.wire.v1 import replication_pb2 as pb
from secondary.layout import Generation
from tests.support.asker import Asker
from tests.support.log_builder import LogBuilder
from tests.support.probe import QUICK, Probe
from tests.support.upstream_server import UpstreamServer, write_secondary
from tests.support.wait import wait_until

SECONDS = 60
HOME, ABSENT = "192.0.2.1", "192.0.2.254"
HOME_KEY, ABSENT_KEY = (
    state_key(Kind.REGISTRATION, Address.parse(address).packed) for address in (HOME, ABSENT)
)
SETTINGS = QUICK | {
    # The builder's clock is in the past.
    "SMTPNIC_SECONDARY_MAX_SILENCE_SECONDS": "1e12",
}
# Seconds since 1970, after all of the logs that tests build.
FRESH_S = 1_700_010_000


def log_of(rounds: int, *, holder: int = 0) -> LogBuilder:
    """The log after so many rounds of changes; with another `holder`, another log of that size."""
    log = LogBuilder()
    log.put_holder(holder.to_bytes(16))
    log.put_registration(HOME, host_of(0))
    log.commit()
    for number in range(1, rounds + 1):
        change(log, number)
        log.commit()
    return log


def change(log: LogBuilder, number: int) -> None:
    """The changes of a round: a new holder, a new registration, and HOME has another host."""
    log.put_holder(number.to_bytes(16))
    log.put_registration(address_of(number))
    log.put_registration(HOME, host_of(number))


def address_of(number: int) -> str:
    return f"198.18.{number >> 8}.{number & 255}"


def host_of(number: int) -> str:
    return f"mail{number}.example.org"


class Mirror:
    """One secondary as real processes, and the upstream that it follows; a context manager.

    Its etcd is a child of its own, or the one at `etcd`.
    """

    def __init__(
        self, root: Path, env: Mapping[str, str] | None = None, *, etcd: str | None = None
    ) -> None:
        self.rounds = 0
        self._fresh_s = count(FRESH_S)
        authority, network = Authority.create("test", datetime.now(UTC)), loopback_network()
        self.authority = authority
        self.upstream = UpstreamServer(log_of(0), authority, f"{network}.10")
        directory, address = root / "mirror", f"{network}.11"
        write_secondary(
            directory,
            self.upstream.log,
            authority,
            upstream=self.upstream.endpoint,
            address=address,
            etcd=etcd,
        )
        command = [program("smtpnic-secondary"), "run", "-c", str(directory / "secondary.toml")]
        self.process = LabProcess(
            "mirror", command, root / "mirror.log", {**SETTINGS, **(env or {})}
        )
        self.secondary = Secondary("mirror", address, directory, self.process)
        self.probe = Probe(self.secondary)

    def __enter__(self) -> Mirror:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        self.upstream.close()

    @property
    def log(self) -> LogBuilder:
        """What the upstream serves."""
        return self.upstream.log

    def grow(self, rounds: int = 1) -> None:
        """The log grows, and the upstream is honest again."""
        self.rounds += rounds
        with self.upstream.changing() as upstream:
            upstream.log = log_of(self.rounds)
            upstream.lie = upstream.checkpoint = upstream.snapshot = b""
            upstream.roots = []
            upstream.is_away = False

    def go_on(self, rounds: int = 1) -> None:
        """The log grows, and all of it is served."""
        self.grow(rounds)
        self.wait_current()

    def freshen(self) -> None:
        """The log is vouched for: hash tiles that are missing are fetched, and it is cosigned."""
        with self.upstream.changing() as upstream:
            freshness = pb.Freshness(checkpoint=upstream.log.freshness(next(self._fresh_s)))
            upstream.lie = pb.SubscribeResponse(freshness=freshness).SerializeToString()

    def wait_current(self) -> None:
        """Until DNS and WHOIS serve all of the log."""
        for role in ("dns", "whois"):
            wait_until(
                lambda role=role: self.metric(role, "log_size") == self.log.size,  # type: ignore[misc]
                seconds=SECONDS,
                what=f"size {self.log.size} in {role}; {self.probe.status()}",
            )
        assert self.secondary.ask_dns(address_of(self.rounds or 1)) == (
            "registered" if self.rounds else "NXDOMAIN"
        )
        assert self.secondary.ask_dns(address_of(self.rounds + 1)) == "NXDOMAIN"

    def metric(self, role: str, name: str) -> float:
        """A metric of DNS or WHOIS; -1 while it does not show it."""
        found = self.probe.metric(role, f"smtpnic_{name}")
        return -1 if found is None else found

    def wait_phase(self, phase: str, advice: str = "") -> None:
        """Until the status says so."""
        wait_until(
            lambda: self.probe.status().phase == phase and advice in self.probe.status().advice,
            seconds=SECONDS,
            what=f"{phase}: {advice}; {self.probe.status()}",
        )

    def generation(self) -> Generation:
        """What readers are to load."""
        layout = self.probe.settings.layout
        with self.probe.store() as store:
            current = store.get(layout.current).value
        generation = layout.served(current)
        assert generation is not None
        return generation

    def cursor(self) -> bytes | None:
        """What etcd holds, as signed."""
        with self.probe.store() as store:
            return store.get(self.generation().cursor).value

    def cut_off(self) -> Generation:
        """The upstream goes away; what readers have."""
        self.wait_phase("following")
        with self.upstream.changing() as upstream:
            upstream.is_away = True
        self.wait_phase("disconnected")
        return self.generation()

    def asker(self) -> Asker:
        """Somebody who asks all the time for what never changes."""
        return Asker(self.secondary.dns, HOME, ABSENT)

    def restart_follower(self) -> None:
        """As an operator does once a fork is explained."""
        before = self.probe.child_pid("follower")
        os.kill(before, signal.SIGTERM)
        wait_until(
            lambda: self.probe.child_pid("follower") not in (0, before),
            seconds=SECONDS,
            what="another follower",
        )


@contextmanager
def behind(mirror: Mirror, root: Path, env: Mapping[str, str] | None = None) -> Iterator[Secondary]:
    """Another mirror, which follows the first one's relay."""
    network, _, _ = mirror.secondary.address.rpartition(".")
    directory, address = root / "second", f"{network}.12"
    write_secondary(
        directory,
        mirror.log,
        mirror.authority,
        upstream=relay_of(mirror),
        address=address,
        etcd=None,
    )
    command = [program("smtpnic-secondary"), "run", "-c", str(directory / "secondary.toml")]
    process = LabProcess(
        "second",
        command,
        root / "second.log",
        SETTINGS | {"SMTPNIC_SECONDARY_NAME": "second"} | dict(env or {}),
    )
    process.start()
    try:
        yield Secondary("second", address, directory, process)
    finally:
        process.stop()


def relay_of(mirror: Mirror) -> str:
    """Where it serves others, if it is told to."""
    return f"{mirror.secondary.address}:{RELAY_PORT}"
