"""A role's process: what it has in memory, and how it is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node.exits import ExitCode
from secondary.__main__ import main

# What reads command lines, prints tables, checks contact and certificates: 8 MB together.
UNUSED = ("rich", "pygments", "typer", "phonenumbers", "email_validator", "cryptography.x509")


def test_dns_does_without_what_it_does_not_use() -> None:
    """The process of a million names is to take no more than a third of Knot's memory."""
    script = (
        "import sys, secondary.__main__, secondary.role_process, secondary.dns.server\n"
        "print(*sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(ended.stdout.split())

    assert "secondary.reader" in loaded
    assert loaded.isdisjoint(UNUSED)


@pytest.mark.parametrize("role", ["dns", "whois", "follower"])
@pytest.mark.parametrize("option", ["-c", "--config"])
def test_a_role_says_what_is_wrong_with_its_settings(
    role: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The short way, without the command line's parser, ends as the long one does."""
    settings = tmp_path / "secondary.toml"
    settings.write_text('name = "x"\nnonsense = 1\n', encoding="utf-8")

    assert main([role, option, str(settings)]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith("smtpnic-secondary: ")
    assert "nonsense" in said
