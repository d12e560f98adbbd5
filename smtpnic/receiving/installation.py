"""Writes a receiver's configuration with a backup, has the server check it, and undoes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, StorageError
from node.files import write_atomic
from smtpnic.receiving.server_kinds import Edit, ServerKind, sharing

CHECK_SECONDS: Final = 60.0
# What a person reads of a check that failed.
MAX_SAID_BYTES: Final = 10_000
# What was there before; an empty one with the second ending: there was nothing.
BACKUP_SUFFIX: Final = ".before-smtpnic"
ABSENT_SUFFIX: Final = ".absent-before-smtpnic"
DEFAULT_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o755


def install(kind: ServerKind, edits: Sequence[Edit]) -> None:
    """Writes all files, or none: when the server's own check fails, all is as it was before.

    ConfigurationError with what the check said; StorageError when a file cannot be written.
    """
    try:
        for edit in edits:
            _write(edit)
        check(kind)
    except (ConfigurationError, StorageError):
        _restore([edit.path for edit in edits])
        _run(kind.build)
        raise


def undo(kind: ServerKind) -> list[Path]:
    """Puts back what was there before; the files. ConfigurationError if nothing was set up.

    What shares a file with it and was set up in its place is taken out as a whole.
    """
    restored = _restore(_files(kind))
    if not restored:
        raise ConfigurationError(f"{kind.title} was not set up by this program: nothing to undo")
    check(kind)
    return restored


def refuse_twice(kind: ServerKind) -> None:
    """ConfigurationError if it is set up: what was there before would be lost."""
    if is_installed(kind):
        raise ConfigurationError(f"{kind.title} is set up already: undo that first, with --undo")


def is_installed(kind: ServerKind) -> bool:
    """Whether `undo` would find something."""
    return any(_backup(path).exists() or _absence(path).exists() for path in _files(kind))


def check(kind: ServerKind) -> None:
    """Builds what the server reads, and asks the server; ConfigurationError with what it said."""
    for command in (kind.build, *kind.checks):
        _run(command)


def reload(kind: ServerKind) -> None:
    """Makes the running server read its configuration; ConfigurationError with what it said."""
    _run(kind.reload)


def _run(command: Sequence[str]) -> None:
    if not command:
        return
    # A file and not a pipe: a daemon that a command starts would keep it open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=CHECK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"{' '.join(command)}: {error}") from error
        output.seek(0)
        said = output.read(MAX_SAID_BYTES).decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise ConfigurationError(f"{' '.join(command)} ended with {done.returncode}\n{said}")


def _files(kind: ServerKind) -> list[Path]:
    return sorted({path for each in sharing(kind) for path in each.paths})


def _backup(path: Path) -> Path:
    return path.with_name(path.name + BACKUP_SUFFIX)


def _absence(path: Path) -> Path:
    return path.with_name(path.name + ABSENT_SUFFIX)


def _write(edit: Edit) -> None:
    try:
        if edit.path.exists():
            shutil.copy2(edit.path, _backup(edit.path))
            mode = edit.path.stat().st_mode & 0o777
        else:
            if not edit.path.parent.exists():
                edit.path.parent.mkdir(parents=True)
                # Whatever the umask: what reads it runs as a user of its own.
                edit.path.parent.chmod(DIRECTORY_MODE)
            _absence(edit.path).touch()
            mode = DEFAULT_MODE
    except OSError as error:
        raise StorageError(f"cannot keep {edit.path}: {error.strerror or error}") from error
    write_atomic(edit.path, edit.text.encode(), mode)
    if _backup(edit.path).exists():
        # The server may read it as a group of its own.
        before = _backup(edit.path).stat()
        os.chown(edit.path, before.st_uid, before.st_gid)


def _restore(paths: Sequence[Path]) -> list[Path]:
    restored = []
    try:
        for path in paths:
            if _absence(path).exists():
                path.unlink(missing_ok=True)
                _absence(path).unlink()
            elif _backup(path).exists():
                _backup(path).replace(path)
                # What is made of it, sendmail.cf, is made anew by a newer file alone.
                os.utime(path)
            else:
                continue
            restored.append(path)
    except OSError as error:
        raise StorageError(f"cannot restore a file: {error}") from error
    return restored
