"""Settings of the commands: which place stands above which, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from smtpnic.holder_key import HolderKey, find_key_file, usual_path
from smtpnic.output import Output
from smtpnic.session import Session
from smtpnic.settings import Settings, config_directory, load_settings


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual configuration file; it is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for key in Settings.model_fields:
        monkeypatch.delenv(f"SMTPNIC_{key.upper()}", raising=False)
    (tmp_path / "smtpnic").mkdir()
    return tmp_path / "smtpnic" / "config.toml"


def test_nothing_said_is_nothing_set() -> None:
    """No file is needed."""
    assert load_settings({}) == Settings()


def test_options_stand_above_the_environment_and_that_above_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key on its own."""
    config.write_text('primary = "a:1"\nzone = "file"\ntimeout = 1\nmirrors = ["m:1", "[::1]:2"]\n')
    monkeypatch.setenv("SMTPNIC_ZONE", "environment")
    monkeypatch.setenv("SMTPNIC_TIMEOUT", "2")
    settings = load_settings({"timeout": "3", "zone": None})
    assert (settings.primary, settings.zone, settings.timeout) == (
        Endpoint("a", 1),
        "environment",
        3.0,
    )
    assert settings.mirrors == (Endpoint("m", 1), Endpoint("::1", 2))


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PATH-like variables are read by people."""
    monkeypatch.setenv("SMTPNIC_MIRRORS", "a:1, b:2")
    assert load_settings({}).mirrors == (Endpoint("a", 1), Endpoint("b", 2))


def test_variables_of_the_servers_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """SMTPNIC_PRIMARY_... belongs to the primary."""
    monkeypatch.setenv("SMTPNIC_PRIMARY_ORIGIN", "smtpnic.org")
    assert load_settings({}) == Settings()


def test_relative_paths_count_from_the_file(config: Path) -> None:
    """A holder may be an identifier too, which is no path."""
    config.write_text(f'ca = "ca.pem"\nholder = "{"ab" * 16}"\n')
    settings = load_settings({})
    assert (settings.ca, settings.holder) == (config.parent / "ca.pem", "ab" * 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("primary = 7", "config.toml: primary: expected text"),
        ('primary = "nowhere"', "config.toml: primary: 'nowhere': expected host:port"),
        ("primry = 'a:1'", "config.toml: primry: no such setting; there are primary, ca"),
        ("timeout = 0", "config.toml: timeout: Input should be greater than 0"),
        ("mirrors = ['x']", "config.toml: mirrors: 'x': expected host:port"),
        ("primary", "config.toml is not TOML"),
    ],
)
def test_a_wrong_file_says_where_and_what(config: Path, text: str, said: str) -> None:
    """The file, the key, what belongs there."""
    config.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings({})
    assert said in str(caught.value)


def test_a_wrong_option_or_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the person wrote it."""
    with pytest.raises(ConfigurationError, match="option --mirror: 'x'"):
        load_settings({"mirrors": ["x"]})
    monkeypatch.setenv("SMTPNIC_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="environment variable SMTPNIC_TIMEOUT"):
        load_settings({})


def test_a_chosen_file_must_exist(tmp_path: Path) -> None:
    """Unlike the usual one."""
    with pytest.raises(ConfigurationError, match="there is no file"):
        load_settings({}, tmp_path / "none.toml")


def test_a_relative_xdg_directory_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG Base Directory Specification: "must be ignored"."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    monkeypatch.setenv("HOME", "/home/a")
    assert config_directory() == Path("/home/a/.config/smtpnic")


def test_a_wrong_root_is_a_configuration_error(tmp_path: Path) -> None:
    """It is the person's, not the server's."""
    (tmp_path / "root").write_text("x")
    with pytest.raises(ConfigurationError, match="no root"):
        Settings(root=tmp_path / "root").pinned()
    session = Session(Output(as_json=False), {}, None)
    with pytest.raises(ConfigurationError, match="--root"):
        session.require_keys(Settings())


def test_a_holder_key_is_kept_and_found() -> None:
    """By path, by identifier, or without a word where there is one only."""
    key = HolderKey.generate()
    path = usual_path(key.holder_id)
    key.save(path)
    assert HolderKey.load(path) == key
    assert find_key_file("") == find_key_file(key.holder_id.hex()) == find_key_file(str(path))
    assert key.management_key.hex() not in repr(key)


def test_a_holder_key_that_others_may_read_is_refused() -> None:
    """With what to do about it."""
    key = HolderKey.generate()
    path = usual_path(key.holder_id)
    key.save(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        HolderKey.load(path)


@pytest.mark.parametrize("text", ["", "[]", '{"holder_id": "00"}', '{"holder_id": 1}'])
def test_a_damaged_holder_key_is_refused(tmp_path: Path, text: str) -> None:
    """It is never half read."""
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="not a holder's key file"):
        HolderKey.load(path)
