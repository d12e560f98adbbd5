"""What the image is built of agrees with what the project asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def _pinned(name: str) -> dict[str, str]:
    text = (ROOT / "packaging" / name).read_text()
    found = re.findall(r"^([a-z0-9-]+)==([^ ;]+)", text, re.MULTILINE)
    return dict(found)


def _asked() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["postgresql"]]


@pytest.mark.parametrize("text", _asked())
def test_every_package_of_the_image_is_one_that_the_project_allows(text: str) -> None:
    """If not: scripts/lock."""
    requirement = Requirement(text)
    version = _pinned("requirements.txt")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_every_package_of_the_image_has_a_hash(name: str) -> None:
    """pip refuses a file with another one."""
    text = (ROOT / "packaging" / name).read_text()
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
