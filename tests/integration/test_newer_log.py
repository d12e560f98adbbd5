"""A mirror whose primary is newer: what need not be understood passes through it; what must be
stops it, and lookups go on from what it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from lab.cluster import DNS_HTTP_PORT, Secondary, ready
from registry.proof import Lookup, verify_lookup
from registry.wire.v1 import log_pb2, mirror_pb2, mirror_pb2_grpc
from tests.support.log_builder import LogBuilder
from tests.support.mirror import ABSENT, HOME, SECONDS, Mirror, behind, log_of, relay_of
from tests.support.newer import (
    EXTENDED,
    NEW_KIND,
    STOPPING,
    STRANGE,
    Newer,
    put_ignored,
    put_more_ignored,
)
from tests.support.probe import Probe
from tests.support.upstream_server import NO_LIMIT
from tests.support.wait import wait_until

STOPS = [pytest.param(newer, said, id=newer.__name__) for newer, said in STOPPING.items()]
LATER = "192.0.2.100"


def wait_size(secondary: Secondary, log: LogBuilder) -> None:
    """Until DNS and WHOIS of a mirror serve all of the log."""
    probe = Probe(secondary)
    for role in ("dns", "whois"):
        wait_until(
            lambda role=role: probe.metric(role, "smtpnic_log_size") == log.size,  # type: ignore[misc]
            seconds=SECONDS,
            what=f"size {log.size} in {role}; {probe.status()}",
        )


def assert_passed_on(secondary: Secondary, log: LogBuilder) -> None:
    """All of the log is there: counted, answered where it has a name, proved by hash tiles."""
    wait_size(secondary, log)
    probe = Probe(secondary)
    wait_until(
        lambda: probe.status().live_keys == len(log.records),
        seconds=SECONDS,
        what=f"{len(log.records)} records; {probe.status()}",
    )
    assert ["registered"] * 2 == [secondary.ask_dns(each) for each in (HOME, EXTENDED)]
    assert "NXDOMAIN" == secondary.ask_dns(ABSENT)
    assert "mail.example.org" in secondary.ask_whois(EXTENDED)
    for key, record in log.records.items():
        lookup = prove(secondary, key)
        assert record == verify_lookup(lookup, log.verifier, key).record
    missing = bytes([NEW_KIND]) + b"gone"
    assert verify_lookup(prove(secondary, missing), log.verifier, missing).record is None


def prove(secondary: Secondary, key: bytes) -> Lookup:
    """What the mirror shows of a state key."""
    credentials = grpc.ssl_channel_credentials((secondary.directory / "ca.pem").read_bytes())
    with grpc.secure_channel(secondary.mirror, credentials) as channel:
        request = mirror_pb2.ProveRequest(kind=log_pb2.Kind.ValueType(key[0]), key=key[1:])
        return Lookup.from_message(mirror_pb2_grpc.MirrorStub(channel).Prove(request, timeout=10))


def test_what_need_not_be_understood_passes_through(tmp_path: Path) -> None:
    """Entries of new kinds, and new fields, come by snapshot and by stream to a mirror and from it
    to the next: stored, counted, in the state root, proved, published; after a restart too. Lookups
    are right all the while."""
    mirror = Mirror(tmp_path)
    mirror.process.env["SMTPNIC_SECONDARY_RELAY__LISTEN"] = relay_of(mirror)
    log = log_of(0)
    put_ignored(log)
    log.commit()
    with mirror.upstream.changing() as upstream:
        upstream.log, upstream.stream_limit = log, 0
    with mirror:
        wait_size(mirror.secondary, log)
        assert mirror.probe.events("snapshot.served")
        with behind(mirror, tmp_path) as second:
            wait_size(second, log)
            assert Probe(second).events("snapshot.served")
            mirrors = (mirror.secondary, second)
            with mirror.upstream.changing() as upstream:
                put_more_ignored(log)
                log.put_registration(LATER)
                log.commit()
                upstream.stream_limit = NO_LIMIT

            def have_tiles() -> bool:
                # The second fetches those of the first, when that has them and hears of freshness.
                mirror.freshen()
                return all(Probe(one).events("tiles.complete") for one in mirrors)

            wait_until(have_tiles, seconds=SECONDS, what="hash tiles", poll_seconds=1)
            for one in mirrors:
                assert_passed_on(one, log)
            assert second.process.stop() == 0
            second.process.start()
            wait_until(
                lambda: ready(second.address, DNS_HTTP_PORT), seconds=SECONDS, what="the second"
            )
            assert_passed_on(second, log)
            assert Probe(second).events("upstream.distrusted") == []
            assert Probe(second).events("replica.refused") == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A mirror that follows."""
    with Mirror(tmp_path_factory.mktemp("m")) as mirror:
        mirror.wait_current()
        yield mirror


@pytest.mark.parametrize("limit", [NO_LIMIT, 0], ids=["stream", "snapshot"])
@pytest.mark.parametrize(("newer", "said"), STOPS)
def test_what_must_be_understood_stops_following(
    running: Mirror, newer: Newer, said: str, limit: int
) -> None:
    """It comes by stream or snapshot: the status says what it is and what to do, etcd stays as it
    was, DNS and WHOIS go on from there; nothing after it is served. Without it, following goes on.
    """
    mirror = running
    cursor, generation = mirror.cursor(), mirror.generation()
    log = log_of(mirror.rounds)
    newer(log)
    log.commit()
    log.put_registration(LATER)
    log.commit()
    with mirror.asker():
        with mirror.upstream.changing() as upstream:
            upstream.log, upstream.stream_limit = log, limit
        mirror.wait_phase("stopped", said)
        assert "update this software" in mirror.probe.status().advice
        assert mirror.probe.metric(
            "follower", "smtpnic_follower_refused_total", error="NewerLogError"
        )
        assert (cursor, generation) == (mirror.cursor(), mirror.generation())
        for address in (STRANGE, LATER):
            assert "NXDOMAIN" == mirror.secondary.ask_dns(address)
        assert HOME in mirror.secondary.ask_whois(HOME)
        with mirror.upstream.changing() as upstream:
            upstream.stream_limit = NO_LIMIT
        mirror.go_on()


def test_a_replica_of_a_newer_format_is_not_served(running: Mirror) -> None:
    """What a newer version made in etcd is neither read nor written over: the status says so, DNS
    and WHOIS go on from what they had, after a restart too."""
    mirror, layout = running, running.probe.settings.layout
    generation = mirror.generation()
    refused = mirror.metric("dns", "replica_refused_total")
    with mirror.probe.store() as store:
        store.txn([], [(layout.current, generation.name + b" 2")])
    with mirror.asker():
        wait_until(
            lambda: mirror.metric("dns", "replica_refused_total") > refused,
            seconds=SECONDS,
            what="DNS refuses the replica",
        )
        with mirror.upstream.changing() as upstream:
            upstream.log = log_of(mirror.rounds + 1)
        mirror.wait_phase("stopped", "etcd holds format 2")
    assert mirror.process.stop() == 0
    mirror.process.start()
    mirror.wait_phase("stopped", "etcd holds format 2")
    with mirror.asker(), mirror.probe.store() as store:
        assert generation.name + b" 2" == store.get(layout.current).value
        store.txn([], [(layout.current, generation.name)])
        mirror.go_on()


def test_a_stopped_mirror_serves_on_after_a_restart(tmp_path: Path) -> None:
    """What it had before the entry that it does not understand, it has after a restart."""
    newer, said = next(iter(STOPPING.items()))
    with Mirror(tmp_path) as mirror:
        mirror.wait_current()
        log = log_of(0)
        newer(log)
        log.commit()
        with mirror.upstream.changing() as upstream:
            upstream.log = log
        mirror.wait_phase("stopped", said)
        assert mirror.process.stop() == 0
        mirror.process.start()
        mirror.wait_phase("stopped", said)
        wait_until(
            lambda: mirror.secondary.ask_dns(HOME) == "registered", seconds=SECONDS, what="DNS"
        )
        assert "NXDOMAIN" == mirror.secondary.ask_dns(ABSENT)
