"""The DNS role at port 53 without a single privilege, in a network namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.boards import pin_file
from tests.support.log_builder import LogBuilder
from tests.support.wait import wait_until

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0

# What an operator does once per machine, and then any user may bind the port.
_IN_NAMESPACE: Final = """\
ip link set lo up && sysctl -qw net.ipv4.ip_unprivileged_port_start=53 &&
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


@pytest.fixture
def role(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The role, just started; nothing is loaded, for its etcd does not exist."""
    log = LogBuilder()
    settings = tmp_path / "secondary.toml"
    settings.write_text(
        'name = "test"\nupstream = "127.0.0.1:1"\ndrain_seconds = 0.2\n'
        f'root_file = "{pin_file(log, tmp_path)}"\n'
        f'[etcd]\nendpoints = ["unix:{tmp_path}/no-etcd"]\n'
        '[dns]\nlisten = "127.0.0.1:53"\nhttp = "127.0.0.1:7451"\n'
    )
    program = [sys.executable, "-m", "secondary", "dns", "-c", str(settings)]
    command = ["unshare", "--net", "sh", "-c", _IN_NAMESPACE, "sh", *program]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


def dig(process: subprocess.Popen[bytes], *arguments: str) -> str:
    """What dig prints in the role's namespace."""
    command = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "dig", "@127.0.0.1", "+tries=1"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return done.stdout


def capabilities(process: subprocess.Popen[bytes]) -> set[str]:
    """The capabilities in effect, permitted and in reach, as /proc shows them."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {line.split()[1] for line in lines if line.startswith(("CapEff", "CapPrm", "CapBnd"))}


def test_port_53_needs_no_privilege(role: subprocess.Popen[bytes]) -> None:
    """With the sysctl set, UDP and TCP are served at port 53 by a process without capabilities."""
    wait_until(
        lambda: "status: SERVFAIL" in dig(role, "192-0-2-36.smtpnic.org"),
        seconds=START_SECONDS,
        what="an answer at port 53",
    )

    assert {"0" * 16} == capabilities(role)
    assert "status: REFUSED" in dig(role, "+tcp", "example.com")
    role.terminate()
    assert 0 == role.wait(STOP_SECONDS)
