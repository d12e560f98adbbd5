"""smtpnic receiver report, over journals that systemd itself wrote."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from lab.process import program

DAY_SECONDS = 86400
# Not on every user's PATH.
WRITER = "/lib/systemd/systemd-journal-remote"
# What mail servers say, how many days ago, and as whom.
ENTRIES = (
    ("postfix/smtpd", 1, "4XyZ1: client=mail.example.org[11.0.0.1]"),
    ("postfix/smtpd", 2, "4XyZ2: client=unknown[11.0.0.2]"),
    ("postfix/smtpd", 2, "4XyZ3: client=unknown[11.0.0.2]"),
    ("postfix/submission/smtpd", 3, "4XyZ4: client=x[11.0.0.3], sasl_username=user"),
    ("sm-mta", 4, "5aB: from=<a@b.example>, size=9, nrcpts=1, relay=x [11.0.0.4]"),
    ("exim", 5, "1u0abc-0001aB-2C <= a@b.example H=x [11.0.0.7] P=esmtp S=500"),
    # Too old; and somebody else's.
    ("postfix/smtpd", 40, "4XyZ5: client=unknown[11.0.0.5]"),
    ("stranger", 1, "4XyZ6: client=unknown[11.0.0.6]"),
)


def exported(number: int, program_name: str, days: int, text: str) -> str:
    """An entry in the journal's export format."""
    fields = {
        "__REALTIME_TIMESTAMP": int((time.time() - days * DAY_SECONDS) * 1e6),
        "__MONOTONIC_TIMESTAMP": number,
        "_BOOT_ID": "0" * 31 + "1",
        "_HOSTNAME": "mx",
        "_PID": 7,
        "SYSLOG_IDENTIFIER": program_name,
        "MESSAGE": text,
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()) + "\n"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal file."""
    path = tmp_path / "mail.journal"
    oldest_first = sorted(ENTRIES, key=lambda entry: -entry[1])
    entries = "".join(exported(number, *entry) for number, entry in enumerate(oldest_first, 1))
    subprocess.run(
        [WRITER, f"--output={path}", "-"], input=entries, text=True, check=True, timeout=60
    )
    return path


def report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command; nobody answers at its resolver."""
    command = [program("smtpnic"), "--json", "receiver", "report", "--server", "127.0.0.1:1"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


def test_who_sent_is_found_in_a_journal(journal: Path) -> None:
    """Of the last 30 days, of mail servers, and apart those who had authenticated."""
    clients = json.loads(report(journal).stdout)["clients"]
    assert {
        "11.0.0.1": (1, 0),
        "11.0.0.2": (2, 0),
        "11.0.0.3": (1, 1),
        "11.0.0.4": (1, 0),
        "11.0.0.7": (1, 0),
    } == {client["address"]: (client["messages"], client["authenticated"]) for client in clients}


def test_what_is_no_journal_is_an_error(tmp_path: Path) -> None:
    """And not a journal without mail."""
    path = tmp_path / "x.journal"
    path.write_bytes(b"no journal " * 1000)
    done = report(path)
    assert 2 == done.returncode
    assert "journalctl" in done.stderr
