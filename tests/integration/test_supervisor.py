"""The supervisor, as a process: what it starts, what it starts again, and how all of it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import psutil
import pytest

from lab.cluster import Cluster, Secondary
from lab.process import program, run
from node.exits import ExitCode
from tests.support.etcd import running_etcd
from tests.support.wait import wait_until

SECONDS = 60
ADDRESS = "198.51.100.7"
CHILDREN = {"etcd", "follower", "dns", "whois"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary that runs, and a secondary that is enrolled."""
    # A short path: the secondary's etcd listens on a socket.
    root = tmp_path_factory.mktemp("s")
    with Cluster(root, 1, secondary_env={"SMTPNIC_SECONDARY_DRAIN_SECONDS": "0.2"}) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


@pytest.fixture
def secondary(cluster: Cluster) -> Iterator[Secondary]:
    """That secondary, running and loaded; ended with the test."""
    (secondary,) = cluster.secondaries
    start(cluster, secondary)
    yield secondary
    secondary.process.stop()


def start(cluster: Cluster, secondary: Secondary) -> None:
    """Until all of it runs: DNS serves its table file before the others have an etcd."""
    cluster.start_secondaries()
    wait_until(lambda: children(secondary).keys() == CHILDREN, seconds=SECONDS, what="all children")
    wait_until(
        lambda: "following" in command("status", secondary.settings_file).stdout,
        seconds=SECONDS,
        what="following",
    )


def children(secondary: Secondary) -> dict[str, psutil.Process]:
    """The supervisor's children by role; etcd by its name."""
    found = {}
    for child in psutil.Process(secondary.process.pid).children():
        # One that has just ended has no command line.
        with suppress(psutil.Error):
            command = child.cmdline()
            # python -P -m secondary ROLE -c FILE
            is_role = "-m" in command
            found[command[command.index("-m") + 2] if is_role else child.name()] = child
    return found


def all_gone(processes: dict[str, psutil.Process]) -> bool:
    """Whether none of them runs."""
    return not psutil.wait_procs(processes.values(), timeout=0)[1]


def command(
    name: str, settings: Path, *options: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """What a command of the secondary does with these settings."""
    return subprocess.run(
        [program("smtpnic-secondary"), name, *options, "-c", str(settings)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | env,
        check=False,
    )


def test_it_runs_an_etcd_and_every_role(cluster: Cluster, secondary: Secondary) -> None:
    """Etcd on sockets in a private directory, and one process a role, all of them well."""
    assert children(secondary).keys() == CHILDREN
    directory = secondary.directory / "data" / "etcd"
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "client:1").is_socket()
    assert not children(secondary)["etcd"].net_connections("inet")
    good = command("preflight", secondary.settings_file)
    assert (good.returncode, "bad" in good.stdout) == (0, False)
    shown = command("status", secondary.settings_file)
    assert shown.returncode == 0
    assert "following" in shown.stdout
    assert '"phase": "following"' in command("status", secondary.settings_file, "--json").stdout


def test_sigterm_ends_all_of_it(secondary: Secondary) -> None:
    """It drains, leaves nothing behind, and ends with 0."""
    running = children(secondary)
    assert secondary.process.stop() == ExitCode.OK
    assert all_gone(running)


def test_nothing_outlives_a_killed_supervisor(cluster: Cluster, secondary: Secondary) -> None:
    """Its children die with it, and a new one takes over the same data at once."""
    running = children(secondary)
    secondary.process.kill()
    wait_until(lambda: all_gone(running), seconds=SECONDS, what="the children are gone")
    start(cluster, secondary)
    assert children(secondary).keys() == running.keys()


@pytest.mark.parametrize("role", ["etcd", "follower", "dns", "whois"])
def test_what_is_killed_is_started_again(secondary: Secondary, role: str) -> None:
    """Every child is replaced, and serves again."""
    victim = children(secondary)[role]
    victim.kill()

    def replaced() -> bool:
        another = children(secondary).get(role)
        return another is not None and another.pid != victim.pid

    wait_until(replaced, seconds=SECONDS, what=f"another {role}")
    wait_until(
        lambda: command("status", secondary.settings_file).stdout.count("following"),
        seconds=SECONDS,
        what="following again",
    )
    wait_until(lambda: secondary.ask_dns(ADDRESS) == "NXDOMAIN", seconds=SECONDS, what="DNS")
    wait_until(lambda: secondary.ask_whois(ADDRESS), seconds=SECONDS, what="WHOIS")


def test_a_restart_serves_before_etcd_does(secondary: Secondary, tmp_path: Path) -> None:
    """What the last run loaded is served at once, however long etcd takes to start."""
    secondary.process.stop()
    binary = tmp_path / "etcd"
    binary.write_text(
        "#!/bin/sh\n"
        "[ \"$1\" != --version ] || { echo 'etcd Version: 3.4.23'; exit; }\n"
        "exec sleep 60\n"
    )
    binary.chmod(0o755)
    secondary.process.start({"SMTPNIC_SECONDARY_ETCD__BINARY": str(binary)})
    wait_until(lambda: secondary.ask_dns(ADDRESS) == "NXDOMAIN", seconds=SECONDS, what="DNS")
    assert children(secondary).keys() == {"sleep", "dns"}


def test_lookups_outlive_the_primary(cluster: Cluster, secondary: Secondary) -> None:
    """Without the primary everything that was loaded is served on, and the status says so (P7)."""
    cluster.primary.kill()
    wait_until(
        lambda: "disconnected" in command("status", secondary.settings_file).stdout,
        seconds=SECONDS,
        what="the status says so",
    )
    assert secondary.ask_dns(ADDRESS) == "NXDOMAIN"
    cluster.start_primary()
    wait_until(
        lambda: "following" in command("status", secondary.settings_file).stdout,
        seconds=SECONDS,
        what="following again",
    )


def test_a_second_supervisor_is_refused(secondary: Secondary) -> None:
    """One directory, one supervisor; the first one goes on undisturbed."""
    running = children(secondary)
    second = command("run", secondary.settings_file)
    assert second.returncode == ExitCode.USAGE
    assert "in use by another process" in second.stderr
    assert children(secondary) == running


class TestRefusals:
    """What a person has to change first ends with 2, and words that say what."""

    @pytest.fixture
    def settings(self, cluster: Cluster, tmp_path: Path) -> Path:
        """Settings of a secondary that does not run."""
        path = tmp_path / f"x{token_hex(4)}"
        run(
            [
                *(program("smtpnic-primary"), "enroll", path.name, "--address=127.0.0.1"),
                *(f"--out={path}", f"--config={cluster.primary_dir / 'primary.toml'}"),
            ]
        )
        return path / "secondary.toml"

    def test_no_etcd(self, settings: Path) -> None:
        """Without an etcd it says how to get one."""
        refused = command("run", settings, SMTPNIC_SECONDARY_ETCD__BINARY="no-such-etcd")
        assert refused.returncode == ExitCode.USAGE
        assert "apt install etcd-server" in refused.stderr

    @pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2", "3.3.27"])
    def test_an_etcd_that_loses_data(self, settings: Path, tmp_path: Path, version: str) -> None:
        """Versions that lose data are refused before anything is stored."""
        binary = tmp_path / "etcd"
        binary.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
        binary.chmod(0o755)
        refused = command("run", settings, SMTPNIC_SECONDARY_ETCD__BINARY=str(binary))
        assert refused.returncode == ExitCode.USAGE
        assert version in refused.stderr

    def test_a_role_that_cannot_start(self, settings: Path) -> None:
        """A role that says its settings are wrong is not tried again: everything ends."""
        certificate = settings.parent / "node.pem"
        certificate.write_text("nothing")
        refused = command("run", settings, SMTPNIC_SECONDARY_ROLES='["follower"]')
        assert refused.returncode == ExitCode.USAGE
        assert "follower ended with 2" in refused.stderr
        assert "holds no PEM certificate" in refused.stderr

    def test_nobody_answers(self, settings: Path) -> None:
        """The status of a secondary that does not run is 4."""
        silent = command("status", settings, SMTPNIC_SECONDARY_MIRROR__LISTEN="127.0.0.1:1")
        assert silent.returncode == ExitCode.UNREACHABLE
        assert "smtpnic-secondary run" in silent.stderr
        away = command("preflight", settings, SMTPNIC_SECONDARY_ETCD__ENDPOINTS='["127.0.0.1:1"]')
        assert away.returncode == ExitCode.UNREACHABLE


def test_an_etcd_that_is_given(cluster: Cluster, tmp_path: Path) -> None:
    """With endpoints no etcd is started, and the roles use that one."""
    (secondary,) = cluster.secondaries
    with running_etcd(tmp_path) as etcd:
        secondary.process.start({"SMTPNIC_SECONDARY_ETCD__ENDPOINTS": f'["{etcd.endpoint}"]'})
        try:
            cluster.wait_secondary(secondary)
            assert children(secondary).keys() == {"follower", "dns", "whois"}
            secondary.process.signal(signal.SIGINT)
            assert secondary.process.wait() == ExitCode.OK
        finally:
            secondary.process.kill()
