"""Certificates in files that others may replace at any time, in any order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.identity_files import IdentityFiles, Paths
from node.tls import Identity
from primary.pki import Authority, Names

NOW = datetime.now(UTC)
AUTHORITY = Authority.create("example.org", NOW)
NAMES = Names.parse([], ["127.0.0.1"])


def write(path: Path, data: bytes) -> None:
    """As cert-manager and `write_atomic` do."""
    new = path.with_suffix(".other")
    new.write_bytes(data)
    new.chmod(0o600)
    new.replace(path)


def put(directory: Path, identity: Identity) -> Paths:
    """A directory with all three files."""
    directory.mkdir(exist_ok=True)
    paths = Paths(directory / "ca.pem", directory / "node.pem", directory / "node.key")
    write(paths.authority, AUTHORITY.identity.certificate)
    write(paths.certificate, identity.certificate)
    write(paths.key, identity.key)
    return paths


def test_what_is_replaced_is_taken_up_once_it_fits(tmp_path: Path) -> None:
    """Half of a new pair is left alone, and told of, until the other half is there."""
    first, second = (AUTHORITY.issue_node("alpha", NAMES, NOW) for _ in range(2))
    paths = put(tmp_path / "node", first)
    files = IdentityFiles(paths)
    assert (1, first) == (files.look().version, files.now.identity)

    write(paths.certificate, second.certificate)
    assert first == files.look().identity
    assert "is not the key of" in files.problem
    paths.key.unlink()
    assert (first, True) == (files.look().identity, "cannot read" in files.problem)
    write(paths.key, second.key)
    assert (2, second) == (files.look().version, files.now.identity)
    assert "" == files.problem


def test_the_same_content_is_nothing_new(tmp_path: Path) -> None:
    """Written again: no connection is made anew for it."""
    identity = AUTHORITY.issue_node("alpha", NAMES, NOW)
    files = IdentityFiles(put(tmp_path / "node", identity))
    put(tmp_path / "node", identity)
    assert 1 == files.look().version


def test_a_directory_that_is_swapped_by_a_link_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes replaces all files of a secret at once."""
    first, second = (AUTHORITY.issue_node("alpha", NAMES, NOW) for _ in range(2))
    put(tmp_path / "1", first)
    put(tmp_path / "2", second)
    link = tmp_path / "now"
    link.symlink_to("1")
    files = IdentityFiles(Paths(link / "ca.pem", link / "node.pem", link / "node.key"))
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(link)
    assert second == files.look().identity


def test_files_that_do_not_fit_are_no_beginning(tmp_path: Path) -> None:
    """In doubt, refuse to start."""
    paths = put(tmp_path / "node", AUTHORITY.issue_node("alpha", NAMES, NOW))
    write(paths.key, AUTHORITY.issue_node("alpha", NAMES, NOW).key)
    with pytest.raises(ConfigurationError, match="is not the key of"):
        IdentityFiles(paths)
