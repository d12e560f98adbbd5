"""docs/receivers.md names what there is: settings and metrics of the policy service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from policyd.metrics import PolicydMetrics
from policyd.settings import PolicydSettings
from smtpnic.receiving.server_kinds import KINDS, fragment_text

PAGE = (Path(__file__).parents[2] / "docs" / "receivers.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> set[str]:
    """What stands in backquotes in the first cells of the table with this heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_setting_is_explained() -> None:
    """And none that is no more."""
    assert set(PolicydSettings.model_fields) == first_cells("key")


def test_every_metric_is_explained() -> None:
    """Under the name that Prometheus sees."""
    found = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in PolicydMetrics().registry.collect()
    }
    assert found == first_cells("metric")


def test_every_configuration_is_in_use() -> None:
    """Each file of receivers/ is one that `setup` puts in, or is named by the page."""
    root = Path(__file__).parents[2] / "receivers"
    used = {
        target.fragment for kind in KINDS for targets in kind.targets.values() for target in targets
    }
    for fragment in used:
        assert fragment_text(fragment)
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    others = {name for name in names - used if not name.endswith((".py", ".pyc"))}
    assert {
        "exim/enforce-list.acl",
        "policyd/smtpnic-policyd.service",
        "policyd/smtpnic-policyd.socket",
        "postfix/advise-filter.cf",
        "postfix/advise-filter.master.cf",
        "sendmail/enforce-list.mc",
    } == others


ROOT = Path(__file__).parents[2]


def test_outside_of_the_isolation_no_test_of_a_server_runs() -> None:
    """Nor is any skipped: they change the machine they run on."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/receivers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 1 == done.returncode
    assert "run `make test-receivers`" in done.stdout + done.stderr


def test_where_isolation_is_not_allowed_the_run_fails(tmp_path: Path) -> None:
    """With a word about why; here for want of namespaces, or of root."""
    denied = tmp_path / "unshare"
    denied.write_text("#!/bin/sh\nexit 1\n")
    denied.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tests.receivers.run", "exim"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert 1 == done.returncode
    assert re.search("does not allow mount|only root", done.stderr)
