"""Unbound and BIND behind a simulated root and parent follow the A record set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TTL_SECONDS = 2

pytestmark = [
    pytest.mark.skipif(shutil.which("unbound") is None, reason="needs unbound"),
    pytest.mark.skipif(shutil.which("named") is None, reason="needs named"),
]


def test_resolvers_follow_the_set() -> None:
    """A mirror that left is asked no more, one that came is asked, no lookup fails meanwhile."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.support.resolver_lab", str(TTL_SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert 0 == done.returncode, f"this needs network namespaces (root): {done.stderr}"
    found = json.loads(done.stdout)
    print(done.stdout)
    for kind in ("unbound", "bind"):
        seen = found[kind]
        assert (True, 0, 0) == (seen["is_silent"], seen["failed"], seen["asked_since"]["m1"]), kind
        assert seen["first_asked_seconds"] > 0, kind
    # BIND goes on with whoever is nearest, and by a hair one of them always is.
    shares = found["unbound"]["asked_since"]
    assert min(shares["m2"], shares["m3"]) > sum(shares.values()) / 4
