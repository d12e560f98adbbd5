"""Atomic writes and private reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from node.errors import ConfigurationError, StorageError
from node.files import MAX_PRIVATE_BYTES, read_private, write_atomic


def test_written_file_is_private_by_default(tmp_path: Path) -> None:
    """A new file is for its owner alone, and nothing else is left beside it."""
    path = tmp_path / "log.key"

    write_atomic(path, b"secret")

    assert b"secret" == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_replacing_gives_the_mode_asked_for(tmp_path: Path) -> None:
    """The old file's mode and a stray new file of a crash do not matter."""
    path = tmp_path / "ca.pem"
    path.write_bytes(b"old")
    path.chmod(0o600)
    stray = tmp_path / ".ca.pem.new"
    stray.write_bytes(b"half of something longer")
    stray.chmod(0o600)

    write_atomic(path, b"new", mode=0o644)

    assert b"new" == path.read_bytes()
    assert 0o644 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_order_is_sync_rename_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is on disk before the name points to it, and the name before the return (P1)."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        steps.append(f"rename {self.name} {target.name}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)

    write_atomic(tmp_path / "checkpoint", b"size 7")

    assert [
        "fsync .checkpoint.new",
        "rename .checkpoint.new checkpoint",
        f"fsync {tmp_path.name}",
    ] == steps


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Someone who can plant a link cannot make the process write elsewhere."""
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    (tmp_path / ".node.key.new").symlink_to(target)

    with pytest.raises(StorageError, match=r"cannot write .*node\.key"):
        write_atomic(tmp_path / "node.key", b"ours")

    assert b"theirs" == target.read_bytes()


def test_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses to sync leaves what was there."""
    path = tmp_path / "checkpoint"
    write_atomic(path, b"old")

    def fsync(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(StorageError, match="No space left on device"):
        write_atomic(path, b"new")

    assert b"old" == path.read_bytes()


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_private_file_is_read(tmp_path: Path, mode: int) -> None:
    """What only the owner can read is read."""
    path = tmp_path / "node.key"
    path.write_bytes(b"secret")
    path.chmod(mode)

    assert b"secret" == read_private(path)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666, 0o700, 0o644])
def test_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that others may read or replace is no secret; the message says what to do."""
    path = tmp_path / "node.key"
    path.write_bytes(b"secret")
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_private(path)


@pytest.mark.parametrize(("owner", "refused"), [(0, False), (12345, True)])
def test_group_may_read_a_file_of_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, refused: bool
) -> None:
    """A Kubernetes secret (root, 0440) is accepted, the same mode of another owner is not."""
    path = tmp_path / "node.key"
    path.write_bytes(b"secret")
    path.chmod(0o440)
    real_fstat = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real_fstat(descriptor))
        fields[stat.ST_UID] = owner
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)

    if refused:
        with pytest.raises(ConfigurationError, match="chmod 600"):
            read_private(path)
    else:
        assert b"secret" == read_private(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message holds the path and the reason."""
    with pytest.raises(ConfigurationError, match=r"node\.key: No such file"):
        read_private(tmp_path / "node.key")


def test_directory_and_huge_file_are_refused(tmp_path: Path) -> None:
    """A path that cannot be a key is refused."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(MAX_PRIVATE_BYTES + 1)
    huge.chmod(0o600)

    with pytest.raises(ConfigurationError, match="too large"):
        read_private(huge)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_private(tmp_path)


def test_device_is_refused() -> None:
    """What is not a file may never end."""
    with pytest.raises(ConfigurationError, match="is not a file"):
        read_private(Path("/dev/zero"))
