"""A secondary keeps its certificate good, and says so when it cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.certificates import read_request, show
from node.identity_files import IdentityFiles, Paths
from node.tls import Identity
from primary.pki import Authority, Life, Names
from secondary.follower_status import StatusBoard
from secondary.own_certificate import OwnCertificate
from secondary.upstream import UpstreamError, UpstreamRefused, UpstreamUnavailable

NOW = datetime.now(UTC)
NAMES = Names.parse([], ["127.0.0.1"])
AUTHORITY = Authority.create("example.org", NOW)
DAYS = 90.0


class Primary:
    """Certifies whoever asks, or fails."""

    def __init__(self) -> None:
        self.failure: UpstreamError | None = None
        self.name = "alpha"
        self.asked = 0

    def renew_certificate(self, certificate_request: bytes) -> bytes:
        self.asked += 1
        if self.failure:
            raise self.failure
        key = read_request(certificate_request)
        return AUTHORITY.certify_node(self.name, NAMES, key, Life(datetime.now(UTC), DAYS))


class Node:
    """A node whose certificate is so many days old."""

    def __init__(self, directory: Path, age_days: float, *, renews: bool = True) -> None:
        self.identity = AUTHORITY.issue_node("alpha", NAMES, NOW - timedelta(days=age_days), DAYS)
        directory.mkdir(exist_ok=True)
        self.paths = Paths(directory / "ca.pem", directory / "node.pem", directory / "node.key")
        self.put(self.identity)
        self.files = IdentityFiles(self.paths)
        self.primary = Primary()
        self.board = StatusBoard()
        self.changes = 0
        self.late = Primary()
        renewer = self.primary if renews else None
        self.own = OwnCertificate(
            "alpha", self.files, renewer, self.board, self._changed, late=self.late
        )

    def put(self, identity: Identity) -> None:
        self.paths.authority.write_bytes(AUTHORITY.identity.certificate)
        self.paths.certificate.write_bytes(identity.certificate)
        self.paths.key.touch(0o600)
        self.paths.key.write_bytes(identity.key)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def problem(self) -> str:
        return self.board.now.certificate_problem


def test_it_is_renewed_in_its_last_third(tmp_path: Path) -> None:
    """For the same key, in its file, and whoever follows hears of it; not before it is due."""
    node = Node(tmp_path, 70)
    node.own.look()
    found = Identity.load(node.paths.certificate, node.paths.key)
    assert (node.identity.key, 1) == (found.key, node.changes)
    assert show(found.certificate).ends > show(node.identity.certificate).ends
    assert node.board.now.certificate_ends_ms == round(
        show(found.certificate).ends.timestamp() * 1000
    )
    node.own.look()
    assert (1, 1, "") == (node.primary.asked, node.changes, node.problem)


def test_a_failure_is_said_and_tried_again_later(tmp_path: Path) -> None:
    """Not at every look; the old certificate is used on."""
    node = Node(tmp_path, 70)
    node.primary.failure = UpstreamUnavailable("nobody answers")
    for _ in range(3):
        node.own.look()
    assert (1, "is not renewed: nobody answers") == (node.primary.asked, node.problem)
    assert node.identity == node.files.now.identity


def test_one_that_has_ended_is_renewed_where_none_is_shown(tmp_path: Path) -> None:
    """For no handshake lets it in any more; if that fails, what is left is to join again."""
    node = Node(tmp_path / "1", 91)
    node.late.failure = UpstreamRefused("no node alpha may follow")
    node.own.look()
    assert "join again with a token (no node alpha may follow)" in node.problem
    node = Node(tmp_path / "2", 91)
    node.own.look()
    assert (0, 1, 1, "") == (node.primary.asked, node.late.asked, node.changes, node.problem)


def test_the_certificate_of_another_is_not_taken(tmp_path: Path) -> None:
    """Whatever the primary gives: the name stays."""
    node = Node(tmp_path, 70)
    node.primary.name = "beta"
    node.own.look()
    assert "of another node" in node.problem
    assert node.identity == node.files.now.identity


@pytest.mark.parametrize(("age_days", "words"), [(1, ""), (80, "nobody has renewed its file")])
def test_one_that_others_renew_is_only_looked_at(tmp_path: Path, age_days: int, words: str) -> None:
    """It is taken up when it changes, and missed when it is late."""
    node = Node(tmp_path, age_days, renews=False)
    node.own.look()
    assert words in node.problem
    assert bool(words) == bool(node.problem)
    other = AUTHORITY.issue_node("alpha", NAMES, NOW, DAYS)
    node.put(other)
    node.own.look()
    assert (other, 1, "") == (node.files.now.identity, node.changes, node.problem)
