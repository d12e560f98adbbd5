"""The primary's settings and key files."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import ConfigurationError
from primary.keys import Keys
from primary.settings import PrimarySettings

LEAST = 'origin = "example.org"\n'


def _load(directory: Path, text: str) -> PrimarySettings:
    path = directory / "primary.toml"
    path.write_text(text)
    return PrimarySettings.load(path)


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    """Defaults and given paths alike, so that a directory can be moved as a whole."""
    settings = _load(tmp_path, LEAST + '[tls]\nca = "pki/ca.pem"\n')
    assert tmp_path / "pki/ca.pem" == settings.tls.ca
    assert tmp_path / "server.key" == settings.tls.key
    assert tmp_path / "run/admin.sock" == settings.administration.socket
    assert f"sqlite:///{tmp_path}/data/registry.sqlite3" == settings.store_url


def test_the_environment_stands_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container changes a port or gives a password without writing a file."""
    monkeypatch.setenv("SMTPNIC_PRIMARY_PUBLIC__LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("SMTPNIC_PRIMARY_STORE", "postgresql+psycopg://u:secret@db/registry")
    settings = _load(tmp_path, LEAST + '[public]\nlisten = "127.0.0.1:99"\n')
    assert 0 == settings.public.listen.port
    assert settings.store_url.endswith("@db/registry")
    assert "secret" not in repr(settings)


def test_a_socket_path_that_no_kernel_takes_is_refused(tmp_path: Path) -> None:
    """Said when the file is read, with the limit, rather than by bind(2)."""
    with pytest.raises(ConfigurationError, match=r"administration\.socket.*107"):
        _load(tmp_path, LEAST + f'[administration]\nsocket = "{"s" * 120}"\n')


def test_keys_are_kept_private_and_read_back(tmp_path: Path) -> None:
    """The files can be read by their owner only, and hold the same keys again."""
    log, freshness = tmp_path / "log.key", tmp_path / "freshness.key"
    keys = Keys.generate("example.org")
    keys.save(log, freshness)
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (log, freshness)}
    assert keys == Keys.load(log, freshness, "example.org")


def test_keys_of_another_log_are_refused(tmp_path: Path) -> None:
    """A key file in the wrong place is noticed before anything is signed with it."""
    log, freshness = tmp_path / "log.key", tmp_path / "freshness.key"
    Keys.generate("example.org").save(log, freshness)
    with pytest.raises(ConfigurationError, match=r"example\.net"):
        Keys.load(log, freshness, "example.net")
    with pytest.raises(ConfigurationError, match="kind"):
        Keys.load(freshness, log, "example.org")
