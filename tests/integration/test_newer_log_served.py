"""What anyone reads of mirrors whose primary is newer: WHOIS, RDAP, and the log over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster import LOG_PORT, Secondary
from registry.checkpoint import Checkpoint
from registry.entry import Entry
from registry.kinds import ContactField, Kind
from registry.tiles import TILE_WIDTH
from secondary.roots import Roots
from tests.support.log_builder import LogBuilder
from tests.support.log_reader import LogReader
from tests.support.mirror import ABSENT, HOME, SECONDS, Mirror, behind, log_of, relay_of
from tests.support.newer import (
    EXTENDED,
    KNOWN_CONTACT,
    NEW_CONTACT,
    NEW_HOLDER,
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

RDAP_PORT = 7470
RDAP = "SMTPNIC_SECONDARY_RDAP__LISTEN"
LATER = "192.0.2.100"
STOPS = [pytest.param(newer, said, id=newer.__name__) for newer, said in STOPPING.items()]


# Entries that a mirror began without are fetched at the next batch, or half a minute later.
FETCH_SECONDS = 90.0


class Chain:
    """A log with new kinds and fields, and two mirrors in a row that have all of it: each began
    with a snapshot, and fetched hash tiles and entries from before."""

    def __init__(self, mirror: Mirror, second: Secondary) -> None:
        self.log = mirror.log
        self.mirrors = (mirror.secondary, second)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    root = tmp_path_factory.mktemp("m")
    mirror = Mirror(root)
    first = mirror.secondary
    mirror.process.env.update(with_rdap(first.address))
    mirror.process.env["SMTPNIC_SECONDARY_RELAY__LISTEN"] = relay_of(mirror)
    with mirror.upstream.changing() as upstream:
        put_ignored(upstream.log)
        upstream.log.commit()
        upstream.stream_limit = 0
    with mirror:
        wait_size(first, mirror.log)
        with mirror.upstream.changing() as upstream:
            upstream.stream_limit = NO_LIMIT
        complete(mirror, first)
        network, _, _ = first.address.rpartition(".")
        with behind(mirror, root, with_rdap(f"{network}.12")) as second:
            wait_size(second, mirror.log)
            complete(mirror, second)
            yield Chain(mirror, second)


def with_rdap(address: str) -> dict[str, str]:
    return {"SMTPNIC_SECONDARY_RDAP__LISTEN": f"{address}:{RDAP_PORT}"}


def complete(mirror: Mirror, one: Secondary) -> None:
    """The log grows until no bundle began within the snapshot that a mirror began with; then until
    it has every tile and every entry."""
    with mirror.upstream.changing() as upstream:
        upstream.log.fill(TILE_WIDTH)
    wait_vouched(mirror, one)
    with mirror.upstream.changing() as upstream:
        put_more_ignored(upstream.log)
        upstream.log.commit()
    wait_vouched(mirror, one)
    log = log_of_mirror(one)
    wait_until(lambda: log.has_entries(mirror.log.size), seconds=FETCH_SECONDS, what="the entries")


def wait_vouched(mirror: Mirror, one: Secondary) -> None:
    """Until a mirror publishes a checkpoint of all of the log."""
    log = log_of_mirror(one)

    def is_vouched_for() -> bool:
        mirror.freshen()
        return log.size() == mirror.log.size

    wait_until(is_vouched_for, seconds=FETCH_SECONDS, what=f"the log; {Probe(one).status()}")


def wait_size(one: Secondary, log: LogBuilder) -> None:
    """Until WHOIS and RDAP of a mirror serve all of the log."""
    wait_until(
        lambda: Probe(one).metric("whois", "smtpnic_log_size") == log.size,
        seconds=SECONDS,
        what=f"size {log.size} in whois; {Probe(one).status()}",
    )


def log_of_mirror(one: Secondary) -> LogReader:
    return LogReader(f"http://{one.address}:{LOG_PORT}", Roots.load(Probe(one).settings))


def rdap(one: Secondary, path: str) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    connection = http.client.HTTPConnection(one.address, RDAP_PORT, timeout=10)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_the_log_over_http_holds_what_nobody_here_knows(chain: Chain) -> None:
    """Checkpoint, tiles and entry bundles of a mirror, and of the one behind it, hold together for
    anyone's tools; entries of new kinds stand there in their own bytes."""
    log = chain.log
    for one in chain.mirrors:
        read = log_of_mirror(one)
        assert (log.size, log.root) == (read.check().size, read.checkpoint().root)
        entries = read.entries(log.size)
        assert [logged.entry for logged in log.logged] == entries
        kinds = {Entry.decode(entry).kind for entry in entries}
        assert {NEW_KIND, NEW_KIND + 1, Kind.POLICY} <= kinds


def test_rdap_tells_what_it_has_words_for(chain: Chain) -> None:
    """A registration and a holder with new fields are told as any other, the new contact field
    neither as shown nor as withheld; what was not registered is not; new kinds count as nothing."""
    for one in chain.mirrors:
        wait_size(one, chain.log)
        status, network = rdap(one, f"/ip/{EXTENDED}")
        assert (200, EXTENDED, ["active", "validated"]) == (
            status,
            network["handle"],
            network["status"],
        )
        assert chain.log.size == network["smtpnic_log"]["size"]
        (holder,) = network["entities"]
        status, entity = rdap(one, f"/entity/{NEW_HOLDER.hex()}")
        assert (200, holder["vcardArray"]) == (status, entity["vcardArray"])
        card = {name: value for name, _, _, value in entity["vcardArray"][1]}
        assert (KNOWN_CONTACT[ContactField.NAME], KNOWN_CONTACT[ContactField.EMAIL]) == (
            card["fn"],
            card["email"],
        )
        assert "redacted" not in entity
        assert NEW_CONTACT not in json.dumps([network, entity])
        assert [EXTENDED] == [each["handle"] for each in entity["networks"]]
        assert 404 == rdap(one, f"/ip/{ABSENT}")[0]
        counted = rdap(one, "/help")[1]["smtpnic_statistics"]
        assert registrations(chain.log) == counted["ipv4"]["active"]


def registrations(log: LogBuilder) -> int:
    return sum(key[0] == Kind.REGISTRATION for key in log.records)


def test_whois_tells_what_it_has_words_for(chain: Chain) -> None:
    """By address, network, host, domain and holder, and in its statistics: as RDAP."""
    holder = NEW_HOLDER.hex()
    for one in chain.mirrors:
        wait_size(one, chain.log)
        for question in (EXTENDED, holder):
            text = one.ask_whois(question)
            for value in KNOWN_CONTACT.values():
                assert value in text
            assert NEW_CONTACT not in text
        for question in ("192.0.2.0/24", "mail.example.org", "domain mail.example.org", holder):
            assert EXTENDED in one.ask_whois(question), question
        assert "no match" in one.ask_whois(ABSENT)
        counted = one.ask_whois("stats").split()
        assert str(registrations(chain.log)) == counted[counted.index("registrations:") + 1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A mirror that follows from the log's beginning, and says that it has all of it."""
    mirror = Mirror(tmp_path_factory.mktemp("m"))
    mirror.process.env.update(with_rdap(mirror.secondary.address))
    with mirror:
        mirror.wait_current()
        wait_vouched(mirror, mirror.secondary)
        yield mirror


@pytest.mark.parametrize(("newer", "said"), STOPS)
def test_where_following_stops_all_that_is_read_stays(
    running: Mirror, newer: Newer, said: str
) -> None:
    """WHOIS, RDAP and the log over HTTP tell the log before the entry that must be understood, and
    how far that is, whole and consistent; after a restart too. Without it, all of them go on."""
    mirror, one = running, running.secondary
    before = log_of_mirror(one).check()
    log = log_of(mirror.rounds)
    newer(log)
    log.commit()
    log.put_registration(LATER)
    log.commit()
    with mirror.upstream.changing() as upstream:
        upstream.log = log
    mirror.freshen()
    mirror.wait_phase("stopped", said)
    assert_as_before(one, before)
    assert mirror.process.stop() == 0
    mirror.process.start()
    mirror.wait_phase("stopped", said)
    wait_until(lambda: HOME in one.ask_whois(HOME), seconds=SECONDS, what="WHOIS")
    assert_as_before(one, before)
    mirror.go_on()
    wait_vouched(mirror, one)
    assert mirror.log.root == log_of_mirror(one).check().root


def assert_as_before(one: Secondary, before: Checkpoint) -> None:
    """Whoever asks is told the log of that checkpoint."""
    assert before == log_of_mirror(one).check()
    status, network = rdap(one, f"/ip/{HOME}")
    assert (200, before.size) == (status, network["smtpnic_log"]["size"])
    assert f"log-size:        {before.size}" in one.ask_whois(HOME).replace("\r", "")
    for address in (STRANGE, LATER):
        assert 404 == rdap(one, f"/ip/{address}")[0]
        assert "no match" in one.ask_whois(address)
