"""Settings: file below environment, paths from the file's directory, errors that say where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.settings import Section, Settings, SettingsEndpoint, SettingsPath


class Listen(Section):
    public: SettingsEndpoint = Endpoint("127.0.0.1", 8443)
    key: SettingsPath = Path("node.key")


class Example(Settings):
    model_config = SettingsConfigDict(env_prefix="SMTPNIC_EXAMPLE_")

    renamed: ClassVar[Mapping[str, str]] = {"hear": "listen"}

    origin: str
    data: SettingsPath = Path("data")
    idle_seconds: float = Field(default=10.0, gt=0)
    listen: Listen = Listen()


def settings_file(directory: Path, text: str) -> Path:
    path = directory / "example.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_gives_values_and_defaults_the_rest(tmp_path: Path) -> None:
    """What the file names is taken; relative paths, defaults too, count from its directory."""
    path = settings_file(
        tmp_path, 'origin = "example.org"\n[listen]\npublic = "[::1]:9"\nkey = "/etc/node.key"\n'
    )

    settings = Example.load(path)

    assert "example.org" == settings.origin
    assert Endpoint("::1", 9) == settings.listen.public
    assert Path("/etc/node.key") == settings.listen.key
    assert tmp_path / "data" == settings.data
    assert 10.0 == settings.idle_seconds


def test_the_old_name_of_a_section_leads_to_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever updates reads what to write, in the file and in the environment."""
    old = settings_file(tmp_path, 'origin = "a"\n[hear]\npublic = "[::1]:9"\n')
    with pytest.raises(ConfigurationError, match=r"hear: \[hear\] is called \[listen\] now"):
        Example.load(old)
    new = settings_file(tmp_path, 'origin = "a"\n[listen]\npublic = "[::1]:9"\n')
    monkeypatch.setenv("SMTPNIC_EXAMPLE_HEAR__PUBLIC", "127.0.0.1:2")
    with pytest.raises(ConfigurationError, match=r"HEAR__PUBLIC: \[hear\] is called \[listen\]"):
        Example.load(new)


def test_default_section_counts_from_the_directory_too(tmp_path: Path) -> None:
    """A table left out of the file behaves as an empty one."""
    absent = Example.load(settings_file(tmp_path, 'origin = "a"\n'))
    empty = Example.load(settings_file(tmp_path, 'origin = "a"\n[listen]\n'))

    assert absent == empty
    assert tmp_path / "node.key" == absent.listen.key


def test_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces one value, in a table too, and leaves its neighbours."""
    path = settings_file(
        tmp_path, 'origin = "file"\n[listen]\npublic = "127.0.0.1:1"\nkey = "a.key"\n'
    )
    monkeypatch.setenv("SMTPNIC_EXAMPLE_ORIGIN", "environment")
    monkeypatch.setenv("SMTPNIC_EXAMPLE_LISTEN__PUBLIC", "127.0.0.1:2")

    settings = Example.load(path)

    assert "environment" == settings.origin
    assert Endpoint("127.0.0.1", 2) == settings.listen.public
    assert tmp_path / "a.key" == settings.listen.key


def test_the_variable_that_names_the_file_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line reads it; in the environment it does no harm."""
    path = settings_file(tmp_path, 'origin = "file"\n')
    monkeypatch.setenv("SMTPNIC_EXAMPLE_CONFIG", str(path))

    assert "file" == Example.load(path).origin


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nobody changes a setting after it was checked."""
    settings = Example.load(settings_file(tmp_path, 'origin = "a"\n'))

    with pytest.raises(ValidationError):
        settings.origin = "b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("origin = ", "is not TOML"),
        ("", r"example\.toml: origin: missing"),
        ('origin = "a"\ncolour = 1', r"example\.toml: colour: no such setting"),
        ('origin = "a"\n_env_file = "x"', r"example\.toml: _env_file: no such setting"),
        ('origin = "a"\n[listen]\nprivate = 1', r"example\.toml: listen\.private: no such setting"),
        ('origin = "a"\n[listen]\npublic = "x"', r"listen\.public: 'x': expected host:port"),
        ('origin = "a"\n[listen]\npublic = 5', r"listen\.public: expected text: host:port"),
        ('origin = "a"\nidle_seconds = 0', r"idle_seconds: Input should be greater than 0"),
        ('origin = "\\ud800"', "is not TOML"),
    ],
)
def test_wrong_file_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    """The message names the file, the key and what is expected."""
    with pytest.raises(ConfigurationError, match=expected):
        Example.load(settings_file(tmp_path, text))


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    """One run shows all that has to be changed."""
    path = settings_file(tmp_path, "idle_seconds = -1\ncolour = 1\n")

    with pytest.raises(ConfigurationError) as caught:
        Example.load(path)

    assert {"origin", "idle_seconds", "colour"} == {
        line.split(": ")[1] for line in str(caught.value).splitlines()
    }


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is in the message."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml"):
        Example.load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SMTPNIC_EXAMPLE_ORIGN", "a", "environment variable SMTPNIC_EXAMPLE_ORIGN: no such"),
        (
            "SMTPNIC_EXAMPLE_IDLE_SECONDS",
            "soon",
            "environment variable SMTPNIC_EXAMPLE_IDLE_SECONDS: Input should be a valid number",
        ),
        (
            "SMTPNIC_EXAMPLE_LISTEN__PUBLIC",
            "::1",
            "environment variable SMTPNIC_EXAMPLE_LISTEN__PUBLIC: '::1': expected",
        ),
        ("SMTPNIC_EXAMPLE_LISTEN", "{", "the environment: "),
    ],
)
def test_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """A value from the environment is not blamed on the file, nor a misspelt one ignored."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=expected):
        Example.load(settings_file(tmp_path, 'origin = "a"\n'))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:53", Endpoint("127.0.0.1", 53)),
        ("[2001:db8::1]:0", Endpoint("2001:db8::1", 0)),
        ("primary.example.org:65535", Endpoint("primary.example.org", 65535)),
    ],
)
def test_endpoint_is_read_and_written_alike(text: str, endpoint: Endpoint) -> None:
    """Text and value are two forms of one thing."""
    assert endpoint == Endpoint.parse(text)
    assert text == str(endpoint)


@pytest.mark.parametrize(
    "text",
    ["", "53", ":53", "host", "host:", "host:x", "host:-1", "host:65536", "::1:53", "[::1]",
     "[host]:1", "a b:1", "http://host:1", "host:٣"],
)  # fmt: skip
def test_other_text_is_no_endpoint(text: str) -> None:
    """What is not a host and a port is refused."""
    with pytest.raises(ValueError, match=r"expected|not a host|not within"):
        Endpoint.parse(text)
