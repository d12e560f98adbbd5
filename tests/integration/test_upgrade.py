"""Version skew: the version before this one and this one, as each other's primary and mirror, and
one in the place of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cluster import Secondary
from lab.process import LabError
from tests.support.asker import Asker
from tests.support.previous import NEW, Version, previous_version
from tests.support.probe import Probe
from tests.support.registrant import Registrant, addresses, try_register
from tests.support.upgrading import STREAM_LIMIT, MixedCluster, run_as
from tests.support.wait import wait_until

SECONDS = 60.0
ABSENT = "192.0.2.254"
# A dozen programs start one after another, and again.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The version before this one."""
    return previous_version(tmp_path_factory.mktemp("previous"))


@pytest.fixture(params=["old primary", "new primary"])
def mixed(request: pytest.FixtureRequest, old: Version, tmp_path: Path) -> Iterator[MixedCluster]:
    """A primary of either version, and a mirror of each; the primary runs."""
    primary = old if request.param == "old primary" else NEW
    with MixedCluster(tmp_path / "c", primary, (old, NEW)) as mixed:
        mixed.cluster.start_primary()
        yield mixed


def register_all(registrant: Registrant, source: Iterator[str]) -> list[str]:
    """More than a mirror is streamed that joins afterwards."""
    return [registrant.register(next(source)).address for _ in range(2 * STREAM_LIMIT)]


def assert_right(mixed: MixedCluster, registered: list[str]) -> None:
    """Every mirror answers for all that is registered, in DNS, and for what is not."""
    for address in registered:
        mixed.wait_for(address)
    mixed.wait_for(ABSENT, "NXDOMAIN")


def test_skew_of_one_version_either_way(mixed: MixedCluster, old: Version) -> None:
    """Mirrors of both versions begin with the primary's snapshot and follow its log; both answer
    what is registered, and no more what is withdrawn; so do both after all have restarted, and
    proofs of either verify with the tools of either."""
    source = addresses()
    with mixed.registrant() as registrant:
        registered = register_all(registrant, source)
        mixed.primary("snapshot")
        mixed.join()
        for secondary in mixed.secondaries:
            assert Probe(secondary).events("snapshot.served")
        registered.append(registrant.register(next(source)).address)
        assert_right(mixed, registered)
        gone = registered.pop(0)
        registrant.withdraw(gone)
        mixed.wait_for(gone, "NXDOMAIN")

        mixed.cluster.stop()
        mixed.cluster.start_secondaries()
        assert_right(mixed, registered)
        mixed.cluster.start_primary()
        newest = next(source)
        wait_until(lambda: try_register(registrant, newest), seconds=SECONDS, what=newest)
    assert_right(mixed, [*registered, newest])
    mixed.wait_for(gone, "NXDOMAIN")
    for secondary in mixed.secondaries:
        assert_following(secondary)
        for version in (old, NEW):
            assert "registered" in verify(version, mixed, secondary, newest)


def assert_following(secondary: Secondary) -> None:
    """The mirror follows; it refused nothing that it was sent."""
    probe = Probe(secondary)
    wait_until(
        lambda: probe.status().phase == "following", seconds=SECONDS, what=f"{probe.status()}"
    )
    assert probe.events("upstream.distrusted") == []
    assert probe.events("replica.refused") == []
    assert probe.events("replica.damaged") == []


def verify(version: Version, mixed: MixedCluster, secondary: Secondary, address: str) -> str:
    """What `smtpnic verify` of a version says of what a mirror shows."""
    arguments = ("verify", address, f"--mirror={secondary.mirror}")
    return version.run("smtpnic", *arguments, env=mixed.cluster.cli_env)


def test_an_older_mirror_passes_over_a_removed_key(old: Version, tmp_path: Path) -> None:
    """Which it does not know: it follows on, and goes on with it as the new version."""
    with MixedCluster(tmp_path / "c", NEW, (old,)) as mixed:
        mixed.cluster.start_primary()
        mixed.join()
        mixed.primary("enroll", "passing", "--address=127.0.0.9", f"--out={tmp_path / 'passing'}")
        mixed.primary("node", "remove", "passing")
        log = mixed.cluster.primary.log
        wait_until(lambda: "key.removed" in log.read_text(), seconds=SECONDS, what="the entry")
        (secondary,) = mixed.secondaries
        source = addresses()
        with mixed.registrant() as registrant:
            registered = [registrant.register(next(source)).address]
            assert_right(mixed, registered)
            assert_following(secondary)
            upgrade(mixed, secondary)
            registered.append(registrant.register(next(source)).address)
            assert_right(mixed, registered)
            assert_following(secondary)


def test_upgrade_in_place_loses_nothing(old: Version, tmp_path: Path) -> None:
    """Mirrors go on with their data as the new version, one after another, then the primary with
    its own: nothing that was registered is lost, what is withdrawn stays so, and a mirror that is
    up never answers wrong."""
    source = addresses()
    with (
        MixedCluster(tmp_path / "c", old, (old, old)) as mixed,
        ExitStack() as stack,
    ):
        mixed.cluster.start_primary()
        registrant = stack.enter_context(mixed.registrant())
        registered = register_all(registrant, source)
        mixed.primary("snapshot")
        mixed.join()
        gone = registered.pop()
        registrant.withdraw(gone)
        mixed.wait_for(gone, "NXDOMAIN")
        first, second = mixed.secondaries
        for leaving, staying in ((first, second), (second, first)):
            with Asker(staying.dns, registered[0], gone):
                upgrade(mixed, leaving)
                registered.append(registrant.register(next(source)).address)
                assert_right(mixed, registered)
                assert_following(leaving)
        with Asker(first.dns, registered[0], gone), Asker(second.dns, registered[0], gone):
            upgrade_primary(mixed, old)
            newest = next(source)
            wait_until(lambda: try_register(registrant, newest), seconds=SECONDS, what=newest)
            registrant.withdraw(registered.pop(1))
            assert_right(mixed, [*registered, newest])
        for secondary in mixed.secondaries:
            assert_following(secondary)
        mixed.wait_for(gone, "NXDOMAIN")


def upgrade(mixed: MixedCluster, secondary: Secondary) -> None:
    """A mirror restarts as the new version, and serves at once what it had."""
    assert secondary.process.stop() == 0
    run_as(secondary, NEW)
    secondary.process.start()
    mixed.cluster.wait_secondary(secondary)


def upgrade_primary(mixed: MixedCluster, old: Version) -> None:
    """The primary's database is migrated where it has to be, and the new version started."""
    assert mixed.cluster.primary.stop() == 0
    mixed.run_primary_as(NEW)
    if old.schema != NEW.schema:
        with pytest.raises(LabError, match="run: smtpnic-primary migrate"):
            mixed.cluster.start_primary()
        mixed.primary("migrate")
    mixed.primary("check")
    mixed.cluster.start_primary()


def test_a_mirror_goes_back_to_the_version_before(old: Version, tmp_path: Path) -> None:
    """What the new version made, of etcd's records, table file and tiles, the one before goes on
    with: a mirror that is set back answers right, and follows."""
    source = addresses()
    with MixedCluster(tmp_path / "c", old, (NEW,)) as mixed:
        mixed.cluster.start_primary()
        with mixed.registrant() as registrant:
            registered = register_all(registrant, source)
            mixed.primary("snapshot")
            mixed.join()
            assert_right(mixed, registered)
            (secondary,) = mixed.secondaries
            assert secondary.process.stop() == 0
            run_as(secondary, old)
            secondary.process.start()
            mixed.cluster.wait_secondary(secondary)
            registered.append(registrant.register(next(source)).address)
            assert_right(mixed, registered)
            assert_following(secondary)


def test_a_primary_does_not_go_back_on_a_newer_database(old: Version, tmp_path: Path) -> None:
    """The version before refuses a database that was migrated, says so, and ends with 1."""
    if old.schema == NEW.schema:
        pytest.skip("the schema has not changed since the version before")
    with MixedCluster(tmp_path / "c", NEW, ()) as mixed:
        mixed.cluster.start_primary()
        assert mixed.cluster.primary.stop() == 0
        mixed.run_primary_as(old)
        with pytest.raises(LabError, match="newer than this program knows"):
            mixed.cluster.start_primary()
        assert mixed.cluster.primary.wait() == 1


def test_a_primary_goes_back_with_the_copy_until_the_new_version_has_run(
    old: Version, tmp_path: Path
) -> None:
    """The copy that `migrate` made lets the version before go on, with all that was registered;
    once the new version has signed more, the checkpoint file refuses it."""
    if old.schema == NEW.schema:
        pytest.skip("the schema has not changed since the version before")
    source = addresses()
    with MixedCluster(tmp_path / "c", old, (old,)) as mixed:
        mixed.cluster.start_primary()
        mixed.join()
        with mixed.registrant() as registrant:
            registered = register_all(registrant, source)
            assert mixed.cluster.primary.stop() == 0
            put_back(mixed, migrated(mixed))
            mixed.run_primary_as(old)
            mixed.cluster.start_primary()
            newest = next(source)
            wait_until(lambda: try_register(registrant, newest), seconds=SECONDS, what=newest)
            assert_right(mixed, [*registered, newest])

            assert mixed.cluster.primary.stop() == 0
            backup = migrated(mixed)
            mixed.cluster.start_primary()
            newest = next(source)
            wait_until(lambda: try_register(registrant, newest), seconds=SECONDS, what=newest)
        assert mixed.cluster.primary.stop() == 0
        put_back(mixed, backup)
        mixed.run_primary_as(old)
        with pytest.raises(LabError, match="it is an older copy"):
            mixed.cluster.start_primary()


def migrated(mixed: MixedCluster) -> Path:
    """The copy that the new version makes as it migrates."""
    mixed.run_primary_as(NEW)
    (line, *_) = mixed.primary("migrate").splitlines()
    word, path = line.split()
    assert word == "backup"
    return Path(path)


def put_back(mixed: MixedCluster, backup: Path) -> None:
    """As docs/upgrading.md says."""
    database = mixed.cluster.primary_dir / "data" / "registry.sqlite3"
    for name in ("-wal", "-shm"):
        database.with_name(f"{database.name}{name}").unlink(missing_ok=True)
    backup.replace(database)
