"""A mirror beside its peers: a stream withheld, a fork, and a primary that is away."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import DNS_HTTP_PORT
from registry.fork import ForkEvidence
from tests.support.mirror import ABSENT, HOME, SECONDS, Mirror, log_of
from tests.support.peer_log import PeerLog, serving_peer
from tests.support.wait import wait_until

INVALID_DATA, STALE_ANSWER, STALE_NXDOMAIN_ANSWER = 24, 3, 19


@pytest.fixture
def peer() -> Iterator[tuple[PeerLog, str]]:
    """Another mirror's log."""
    with serving_peer(log_of(0)) as serving:
        yield serving


@pytest.fixture
def mirror(tmp_path: Path, peer: tuple[PeerLog, str]) -> Iterator[Mirror]:
    """A secondary that compares itself with the peer, impatiently."""
    settings = {
        "SMTPNIC_SECONDARY_PEERS__URLS": json.dumps([peer[1]]),
        "SMTPNIC_SECONDARY_PEERS__LOOK_SECONDS": "0.2",
        "SMTPNIC_SECONDARY_PEERS__BEHIND_SECONDS": "1",
    }
    with Mirror(tmp_path, settings) as mirror:
        mirror.wait_current()
        yield mirror


def readiness(mirror: Mirror) -> int:
    url = f"http://{mirror.secondary.address}:{DNS_HTTP_PORT}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code


def wait_answers(
    mirror: Mirror, home: tuple[str, int | None], absent: tuple[str, int | None]
) -> None:
    """Until that is said; each of the server's threads learns of it in its own time."""
    wait_until(
        lambda: (
            mirror.probe.extended_error(HOME) == home
            and mirror.probe.extended_error(ABSENT) == absent
        ),
        seconds=SECONDS,
        what=f"{home}, {absent}; {mirror.probe.status()}",
    )


def test_a_withheld_stream(mirror: Mirror, peer: tuple[PeerLog, str]) -> None:
    """P3: what peers have does not come: out of rotation, SERVFAIL; until it does come."""
    mirror.wait_phase("following")
    peer[0].log = log_of(2)
    wait_answers(mirror, ("SERVFAIL", INVALID_DATA), ("SERVFAIL", INVALID_DATA))
    assert "ask another" in mirror.secondary.ask_whois(HOME)
    assert 503 == readiness(mirror)
    status = mirror.probe.status()
    assert peer[1] in status.out_of_rotation
    assert [(peer[1], log_of(2).size)] == [(one.url, one.size) for one in status.peers]
    assert 1 == mirror.probe.metric("follower", "smtpnic_follower_out_of_rotation")
    mirror.go_on(2)
    wait_answers(mirror, ("NOERROR", None), ("NXDOMAIN", None))
    wait_until(
        lambda: not mirror.probe.status().out_of_rotation and readiness(mirror) == 200,
        seconds=SECONDS,
        what="back in rotation",
    )


def test_a_fork_that_a_peer_shows(mirror: Mirror, peer: tuple[PeerLog, str]) -> None:
    """P5: following ends, the last good state is served with the remark, evidence is kept."""
    mirror.wait_phase("following")
    ours = mirror.log.checkpoint
    peer[0].log = log_of(1, holder=99)
    mirror.wait_phase("forked", "publish")
    (path,) = mirror.probe.settings.data_dir.glob("fork-*.json")
    evidence = ForkEvidence.decode(path.read_bytes())
    assert (ours, peer[0].log.checkpoint) == (evidence.ours, evidence.theirs)
    evidence.verify(mirror.log.verifier)
    wait_answers(mirror, ("NOERROR", STALE_ANSWER), ("NXDOMAIN", STALE_NXDOMAIN_ANSWER))
    assert "two registers" in mirror.secondary.ask_whois(HOME)
    assert 1 == mirror.probe.metric("dns", "smtpnic_condition", condition="forked")
    # It follows no more, though the upstream goes on.
    mirror.grow()
    mirror.wait_phase("forked")
    assert ours == mirror.probe.status().checkpoint


def test_peers_that_are_as_stale(mirror: Mirror, peer: tuple[PeerLog, str]) -> None:
    """P7: the upstream is away, and no peer has more: it serves on, in rotation."""
    mirror.cut_off()
    assert ("NOERROR", None) == mirror.probe.extended_error(HOME)
    seen = mirror.probe.status().peers[0].seen_ms
    wait_until(
        lambda: mirror.probe.status().peers[0].seen_ms > seen + 3000,
        seconds=SECONDS,
        what="some more looks",
    )
    assert "" == mirror.probe.status().out_of_rotation
    assert ("NOERROR", None) == mirror.probe.extended_error(HOME)
    assert 200 == readiness(mirror)
