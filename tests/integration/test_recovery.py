"""The drill of docs/trust.md: the primary's machine is lost, with every key that was on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from lab.process import LabError, program, run
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
BEFORE, AFTER, LATER = "198.51.100.7", "198.51.100.8", "198.51.100.9"
# What a board keeps offline: no key that signs day by day.
OFFLINE = ("primary.toml", "root.note", "ca.pem", "ca.key", "server.pem", "board.key")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # The path of etcd's socket has to be short.
    with Cluster(tmp_path_factory.mktemp("c"), secondaries=2) as cluster:
        cluster.prepare()
        cluster.start_primary()
        cluster.start_secondaries()
        yield cluster


def registrant_of(cluster: Cluster) -> Registrant:
    """Somebody new."""
    channel = secure_channel(cluster.public, cluster.ca, cluster.primary_address)
    registrant = Registrant(channel)
    registrant.create_holder()
    return registrant


def primary(cluster: Cluster, *arguments: str) -> str:
    """What `smtpnic-primary ARGUMENTS` prints."""
    config = f"--config={cluster.primary_dir / 'primary.toml'}"
    return run([program("smtpnic-primary"), *arguments, config])


def board(cluster: Cluster, root: Path, *arguments: str) -> None:
    """`smtpnic board ARGUMENTS`, by whoever knows this root."""
    command = [program("smtpnic"), f"--root={root}", "--timeout=1", "board", *arguments]
    run(command, env=cluster.cli_env)


def wait_for(cluster: Cluster, address: str, answer: str = "registered") -> None:
    """Until every secondary gives this answer."""
    wait_until(
        lambda: cluster.visible_everywhere(address, answer),
        seconds=SECONDS,
        what=f"{address} {answer}",
    )


def backed_up(cluster: Cluster, directory: Path) -> None:
    """A copy of the primary's directory, taken while it does not run."""
    cluster.primary.stop()
    shutil.copytree(cluster.primary_dir, directory, ignore=shutil.ignore_patterns("run"))
    cluster.start_primary()


def exported(cluster: Cluster, directory: Path) -> list[str]:
    """What both mirrors export."""
    found = []
    for secondary in cluster.secondaries:
        out = directory / secondary.name
        command = [program("smtpnic-secondary"), "export", str(out)]
        run([*command, f"--config={secondary.settings_file}"])
        found.append(str(out))
    return found


def restore(cluster: Cluster, backup: Path, *names: str) -> None:
    """A new machine, with these files of the backup."""
    shutil.rmtree(cluster.primary_dir)
    cluster.primary_dir.mkdir(mode=0o700)
    for name in names:
        source = backup / name
        copy: Any = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, cluster.primary_dir / name)


def test_a_lost_primary_is_rebuilt_from_its_mirrors(cluster: Cluster, tmp_path: Path) -> None:
    """An old copy does not sign; what any secondary has is not lost; the log goes on under keys
    that the board named, and the secondaries follow without being touched."""
    early = registrant_of(cluster)
    early.register(BEFORE, "mx1.example.org")
    backup = tmp_path / "backup"
    backed_up(cluster, backup)
    late = registrant_of(cluster)
    late.register(AFTER, "mx2.example.org")
    wait_for(cluster, AFTER)
    cluster.primary.kill()

    # The whole backup, keys and checkpoint file and all: it tells one story, and an old one.
    restore(cluster, backup, *(path.name for path in backup.iterdir()))
    mirrors = [secondary.mirror for secondary in cluster.secondaries]
    with pytest.raises(LabError, match="older copy"):
        cluster.start_primary({"SMTPNIC_PRIMARY_MIRRORS": str(mirrors).replace("'", '"')})

    restore(cluster, backup, *OFFLINE)
    primary(cluster, "renew")
    primary(cluster, "new-keys")
    exports = exported(cluster, tmp_path / "exports")
    advice = primary(cluster, "recover", *exports)
    words = advice[advice.index("propose-root") :].replace("\\\n", " ").split()
    options = [word.strip("'") for word in words[2:]]
    known = cluster.primary_dir / "root-1.note"
    proposal = tmp_path / "next-root.note"
    board(cluster, known, "propose-root", str(proposal), *options)
    unsigned = tmp_path / "unsigned.note"
    shutil.copy(proposal, unsigned)
    board(cluster, known, "sign", str(proposal), f"--key={cluster.primary_dir / 'board.key'}")
    with pytest.raises(LabError):
        primary(cluster, "recover", *exports, f"--root={unsigned}")
    database = f"sqlite:///{backup}/data/registry.sqlite3"
    said = primary(cluster, "recover", *exports, f"--root={proposal}", f"--backup={database}")
    assert "lost: management keys of 1 holders, private contact of 1" in said

    cluster.start_primary({"SMTPNIC_PRIMARY_MIRRORS": str(mirrors).replace("'", '"')})
    again = Registrant(
        secure_channel(cluster.public, cluster.ca, cluster.primary_address),
        early.holder_id,
        early.management_key,
    )
    again.register(LATER, "mx3.example.org")
    for address in (BEFORE, AFTER, LATER):
        wait_for(cluster, address)

    assert "recovered: entries before" in primary(cluster, "check")

    # A secondary that begins now has all of it too.
    newcomer = cluster.secondaries[0]
    newcomer.process.stop()
    shutil.rmtree(newcomer.directory / "data")
    newcomer.process.start()
    cluster.wait_secondary(newcomer)
    for address in (BEFORE, AFTER, LATER):
        wait_for(cluster, address)
    verify = [program("smtpnic"), "verify", AFTER, f"--mirror={newcomer.mirror}"]
    wait_until(
        lambda: (
            subprocess.run(
                verify, env={"PATH": "/usr/bin:/bin", **cluster.cli_env}, check=False
            ).returncode
            == 0
        ),
        seconds=SECONDS,
        what="a proof",
    )
