"""A cluster whose programs are of two versions, and change to the other where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import SECONDARY_ENV, Cluster, Secondary
from tests.support.previous import NEW, Version
from tests.support.probe import QUICK, Probe
from tests.support.registrant import Registrant, secure_channel
from tests.support.wait import wait_until

SECONDS = 60.0
# A mirror that joins later than this many entries begins with a snapshot.
STREAM_LIMIT = 10
# What `enroll` writes that the version before refuses, as docs/upgrading.md says.
NEW_SETTINGS = ("renew_ended_at",)
# What the lab sets that it refuses, too.
NEW_ENV = ("SMTPNIC_SECONDARY_WHOIS__PER_SECOND",)


class MixedCluster:
    """A primary and its mirrors, each of a version of its own; a context manager that ends all.

    Settings are written by the version that reads them first, as its operator did.
    """

    def __init__(self, root: Path, primary: Version, mirrors: tuple[Version, ...]) -> None:
        self.cluster = Cluster(
            root,
            len(mirrors),
            primary_env={"SMTPNIC_PRIMARY_STREAM_LIMIT": str(STREAM_LIMIT)},
            secondary_env=SECONDARY_ENV | QUICK,
        )
        self.versions = mirrors
        self.run_primary_as(primary)
        for secondary, version in zip(self.cluster.secondaries, mirrors, strict=True):
            run_as(secondary, version)
        root.mkdir(parents=True, exist_ok=True)
        command = self.cluster.init_command()
        primary.run("smtpnic-primary", *command[1:])
        self.cluster.write_cli_config()

    @property
    def secondaries(self) -> list[Secondary]:
        return self.cluster.secondaries

    def __enter__(self) -> MixedCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.stop()

    def run_primary_as(self, version: Version) -> None:
        """From its next start on."""
        self.primary_version = version
        change_version(self.cluster.primary.env, version)

    def primary(self, *arguments: str) -> str:
        """What a command of the primary's version prints; it must succeed."""
        config = f"--config={self.cluster.primary_dir / 'primary.toml'}"
        return self.primary_version.run("smtpnic-primary", *arguments, config)

    def join(self) -> None:
        """Every mirror is enrolled by the primary's version, and starts.

        Without a token: the version before knows none.
        """
        for secondary, version in zip(self.secondaries, self.versions, strict=True):
            _, *arguments = self.cluster.enroll_command(secondary)
            self.primary_version.run("smtpnic-primary", *arguments)
            if version is not NEW:
                leave_out(secondary.settings_file, NEW_SETTINGS)
        self.cluster.start_secondaries()

    def wait_for(self, address: str, answer: str = "registered") -> None:
        """Until every mirror gives this answer."""
        wait_until(
            lambda: self.cluster.visible_everywhere(address, answer),
            seconds=SECONDS,
            what=f"{address} is {answer} at every mirror",
        )

    def follows_in(self, secondary: Secondary, phase: str) -> None:
        """Until a mirror's status names this phase."""
        probe = Probe(secondary)
        wait_until(
            lambda: probe.status().phase == phase,
            seconds=SECONDS,
            what=f"{phase}; {probe.status()}",
        )

    @contextmanager
    def registrant(self) -> Iterator[Registrant]:
        """A new holder."""
        address = self.cluster.primary_address
        with secure_channel(self.cluster.public, self.cluster.ca, address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            yield registrant


def leave_out(settings: Path, names: tuple[str, ...]) -> None:
    """Takes settings out of a file, as its operator does who is told `no such setting`."""
    lines = settings.read_text("utf-8").splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if not line.startswith(names)), "utf-8")


def run_as(secondary: Secondary, version: Version) -> None:
    """A mirror is of this version from its next start on."""
    change_version(secondary.process.env, version)


def change_version(env: dict[str, str], version: Version) -> None:
    """The environment in which programs are of another version."""
    for name in ("PYTHONPATH", "PYTHONSAFEPATH", *NEW_ENV):
        env.pop(name, None)
    env.update(version.env)
