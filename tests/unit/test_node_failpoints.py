"""Failpoints: they kill where asked, at the pass asked for, and are silent otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from node.errors import ConfigurationError
from node.failpoints import VARIABLE, Failpoint, armed_by

SCRIPT = """
from node.failpoints import failpoint
for step in range(4):
    failpoint("other")
    print(step, flush=True)
    failpoint("store")
"""


def run(setting: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if setting is not None:
        environment[VARIABLE] = setting
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("setting", "code", "output"),
    [
        (None, 0, "0\n1\n2\n3\n"),
        ("", 0, "0\n1\n2\n3\n"),
        ("elsewhere", 0, "0\n1\n2\n3\n"),
        ("store", -signal.SIGKILL, "0\n"),
        ("store:3", -signal.SIGKILL, "0\n1\n2\n"),
        ("store:9", 0, "0\n1\n2\n3\n"),
    ],
)
def test_process_dies_at_the_pass_asked_for(setting: str | None, code: int, output: str) -> None:
    """The process dies by SIGKILL at the nth pass of the named place, and nowhere else."""
    finished = run(setting)

    assert (code, output) == (finished.returncode, finished.stdout)


@pytest.mark.parametrize("setting", [":2", "store:", "store:0", "store:-1", "store:x", "store:²"])
def test_a_setting_that_names_no_place_is_refused(setting: str) -> None:
    """A test that would never kill must not pass for one that did."""
    with pytest.raises(ConfigurationError, match=VARIABLE):
        armed_by({VARIABLE: setting})


def test_passes_are_counted_for_the_named_place_only() -> None:
    """Other places neither count nor kill."""
    place = Failpoint.parse("store:2")

    assert [False, False, False, True, False] == [
        place.is_due(name) for name in ("store", "sign", "sign", "store", "store")
    ]
