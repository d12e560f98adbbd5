"""Which etcd will do, and how a secondary starts its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import ConfigurationError
from secondary import child_etcd
from secondary.preflight import Finding, Verdict, check_version, require
from secondary.sections import EtcdSettings
from secondary.settings import SecondarySettings


def settings(directory: Path, **etcd: object) -> SecondarySettings:
    """Settings of a secondary with an etcd of its own."""
    return SecondarySettings(
        name="m",
        upstream="127.0.0.1:1",  # type: ignore[arg-type]
        data_dir=directory,
        etcd=EtcdSettings.model_validate(etcd),
    )


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("3.3.27", Verdict.BAD),
        ("3.4.16", Verdict.ADVICE),
        ("3.4.22", Verdict.GOOD),
        ("3.4.23", Verdict.GOOD),
        ("3.5.0", Verdict.BAD),
        ("3.5.2", Verdict.BAD),
        ("3.5.3", Verdict.ADVICE),
        ("3.5.6", Verdict.GOOD),
        ("3.6.0-rc.1", Verdict.GOOD),
        ("4.0.0", Verdict.GOOD),
        ("unknown", Verdict.ADVICE),
    ],
)
def test_versions(version: str, verdict: Verdict) -> None:
    """Those that lose data or are too old are refused, those with known faults are named."""
    finding = check_version(version)
    assert verdict is finding.verdict
    assert version in finding.text


def test_what_is_bad_is_refused() -> None:
    """All that is bad is said at once; advice stops nobody."""
    require([Finding(Verdict.GOOD, "a"), Finding(Verdict.ADVICE, "b")])
    with pytest.raises(ConfigurationError, match="b; c"):
        require([Finding(Verdict.BAD, "b"), Finding(Verdict.GOOD, "x"), Finding(Verdict.BAD, "c")])


def test_the_command_keeps_its_durability(tmp_path: Path) -> None:
    """Nothing that trades durability for speed, and only sockets of its own directory."""
    binary = tmp_path / "etcd"
    binary.write_text("#!/bin/sh\necho 'etcd Version: 3.4.23'\n")
    binary.chmod(0o755)
    told = settings(tmp_path, binary=str(binary), quota_bytes=1 << 30, retention_seconds=60)
    command = child_etcd.command(told)
    assert command[0] == str(binary)
    assert "--quota-backend-bytes=1073741824" in command
    assert "--auto-compaction-retention=60s" in command
    assert not [option for option in command if "unsafe" in option or "http" in option]
    assert child_etcd.installed_version(told) == "3.4.23"


def test_the_environment_does_not_change_etcd() -> None:
    """Settings of an etcd that also runs on the machine are not taken over."""
    given = {"PATH": "/bin", "ETCD_UNSAFE_NO_FSYNC": "true", "ETCD_NAME": "x"}
    assert {"PATH": "/bin"} == child_etcd.environment(given)


def test_no_program(tmp_path: Path) -> None:
    """A missing or wrong program is a setting to change."""
    with pytest.raises(ConfigurationError, match="apt install etcd-server"):
        child_etcd.program(settings(tmp_path, binary="no-such-etcd"))
    with pytest.raises(ConfigurationError, match="is not etcd"):
        child_etcd.installed_version(settings(tmp_path, binary="true"))


def test_sockets_of_a_killed_etcd_are_removed(tmp_path: Path) -> None:
    """They would keep the next one from listening."""
    told = settings(tmp_path)
    told.etcd_directory.mkdir(parents=True)
    told.etcd_socket.touch()
    (told.etcd_directory / "peer:1").touch()
    child_etcd.remove_sockets(told)
    child_etcd.remove_sockets(told)
    assert list(told.etcd_directory.iterdir()) == []
