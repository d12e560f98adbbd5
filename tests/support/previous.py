"""The version before this one, as it was: its code, out of the history that a clone has.

It runs in this virtual environment, with these libraries, and without its compiled modules, which
have twins in pure Python.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from lab.process import program, run

# What this version is held against: the last release, or a commit of its age while there is none,
# of those that everybody has who has the history.
# CONTRIBUTING.md says when it moves.
PREVIOUS: Final = "ee7871e8496722f5be686b3766e8fe08d942499e"

_HERE: Final = Path(__file__).parents[2]
_GIT_SECONDS: Final = 60


@dataclass(frozen=True)
class Version:
    """Code that can be run: in `directory`, or as it is installed if there is none."""

    name: str
    directory: Path | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """What makes the programs be of this version, their children too."""
        if self.directory is None:
            # Not "": Python would take that for the current directory.
            return {}
        # Safe: what is started by "-m" would take this version's code from the current directory.
        return {"PYTHONPATH": str(self.directory), "PYTHONSAFEPATH": "1"}

    def run(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What one of the version's programs prints; it must succeed."""
        return run([program(name), *arguments], env={**self.env, **(env or {})})

    @property
    def schema(self) -> str:
        """The newest revision of the primary's database that it knows."""
        versions = (self.directory or _HERE) / "primary/store/migrations/versions"
        return max(file.name[:4] for file in versions.glob("0*.py"))


NEW: Final = Version("new")


def previous_version(directory: Path) -> Version:
    """The code of `PREVIOUS`, written into this directory.

    A clone that is cut off before it has an older commit of its own, which is taken instead. Fails
    where there is none; skips where this version is the first.
    """
    commit = _commit()
    archive = _git("archive", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    version = Version("old", directory)
    _check(version)
    return version


def _commit() -> str:
    if _git_says("cat-file", "-e", f"{PREVIOUS}^{{commit}}"):
        return PREVIOUS
    head = _git("rev-parse", "HEAD").decode().strip()
    # The first of those that are there: where the history was cut, or where it began.
    oldest = _git("rev-list", "--first-parent", "HEAD").decode().split()[-1]
    if oldest != head:
        return oldest
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        pytest.fail("upgrades need the version before this one: git fetch --unshallow")
    pytest.skip("there is no version before this one in the history")


def _check(version: Version) -> None:
    """That it is the old code that runs, and not what is installed."""
    script = "import registry, sys; sys.stdout.write(registry.__file__)"
    found = run([program("python"), "-P", "-c", script], env=version.env)
    assert Path(found) == (version.directory or _HERE) / "registry" / "__init__.py"


def _git_says(*arguments: str) -> bool:
    done = subprocess.run(
        ["git", "-C", str(_HERE), *arguments],
        capture_output=True,
        timeout=_GIT_SECONDS,
        check=False,
    )
    return done.returncode == 0


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(_HERE), *arguments],
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        stderr = getattr(error, "stderr", b"") or b""
        pytest.fail(f"upgrades are tested from a clone with its history: {error} {stderr!r}")
    return done.stdout
