"""What fuzzing the AF_XDP front found worth keeping is asked again, without sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.frame_fuzzing import FrameFuzzing, load

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus_frames"
BUILD_SECONDS = 240


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory: pytest.TempPathFactory) -> FrameFuzzing:
    """The front as the sources have it, on a kernel that is not there."""
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "tests/fuzz/setup.py", "-q", "build_ext", "--force"]
    subprocess.run(
        [*command, f"--build-lib={built}", f"--build-temp={built / 'temp'}"],
        cwd=ROOT,
        env={**os.environ, "CFLAGS": "-O0"},
        check=True,
        timeout=BUILD_SECONDS,
    )
    return FrameFuzzing(load(built))


def test_what_was_found_before(fuzzing: FrameFuzzing) -> None:
    """Frames of all kinds, alone and many at once: those that are right are answered as they
    should be, none beyond its memory, and no memory is lost."""
    found = sorted(CORPUS.iterdir())
    assert len(found) > 100
    for path in found:
        fuzzing.check(path.read_bytes())
