"""The scripts of init containers, as they stand in the manifests, against a real primary."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.process import program
from node.exits import ExitCode
from primary.settings import PrimarySettings
from secondary.settings import SecondarySettings
from tests.support.joining import make_token, nodes
from tests.support.manifests import pods, rendered, variables

TOKENS = "/run/smtpnic-join/"


def script(overlay: str, workload: str) -> list[str]:
    """The command of the one init container of a workload."""
    (pod,) = [pod for pod in pods(rendered(overlay)) if pod.name == workload]
    (container,) = pod.spec["initContainers"]
    return list(container["command"])


def founding(overlay: str) -> dict[str, str]:
    """The environment of the container that founds the registry."""
    (pod,) = [pod for pod in pods(rendered(overlay)) if pod.name == "smtpnic-primary"]
    return variables(rendered(overlay), pod.spec["initContainers"][0])


def run(command: list[str], directory: Path, more: Mapping[str, str]) -> tuple[int, str]:
    """How it ended and what it said, with our programs on its PATH."""
    path = f"{Path(program('smtpnic-primary')).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=directory,
        env={"PATH": path, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", ["primary", "demo"])
def test_a_registry_is_founded_once(overlay: str, tmp_path: Path) -> None:
    """On an empty volume, with the names and addresses of the manifests; then it is left alone."""
    command, more = script(overlay, "smtpnic-primary"), founding(overlay)
    assert (0, True) == _starts_with(run(command, tmp_path, more))
    settings = PrimarySettings.load(tmp_path / "registry" / "primary.toml")
    assert more["ORIGIN"] == settings.origin
    listeners = (settings.public, settings.nodes, settings.log, settings.http)
    assert ["0.0.0.0:7441", "0.0.0.0:7442", "0.0.0.0:7444", "0.0.0.0:7440"] == [
        str(each.listen) for each in listeners
    ]
    before = (tmp_path / "registry" / "log.key").read_bytes()
    assert (0, "") == run(command, tmp_path, more)
    assert before == (tmp_path / "registry" / "log.key").read_bytes()


def _starts_with(said: tuple[int, str]) -> tuple[int, bool]:
    code, text = said
    return code, bool(text)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A primary that runs; its nodes do not."""
    with Cluster(tmp_path_factory.mktemp("c"), 1) as cluster:
        cluster.prepare()
        cluster.start_primary()
        yield cluster


def test_a_follower_joins_once(cluster: Cluster, tmp_path: Path) -> None:
    """With the token under its pod's name, a line end after it; then without any Secret."""
    tokens, volume = tmp_path / "tokens", tmp_path / "volume"
    tokens.mkdir()
    volume.mkdir()
    (tokens / "smtpnic-follower-0").write_text(f"{make_token(cluster, 'k8s-0')}\n")
    command = [word.replace(TOKENS, f"{tokens}/") for word in script("mirror", "smtpnic-follower")]
    more = {"POD_NAME": "smtpnic-follower-0"}
    code, said = run(command, volume, more)
    assert code == 0, said
    settings = SecondarySettings.load(volume / "mirror" / "secondary.toml")
    assert settings.name == "k8s-0"
    listeners = (settings.mirror.listen, settings.log.listen, settings.follower.http)
    assert ["0.0.0.0:7443", "0.0.0.0:7445", "0.0.0.0:7450"] == [str(each) for each in listeners]
    assert "k8s-0" in nodes(cluster)
    (tokens / "smtpnic-follower-0").unlink()
    assert (0, "") == run(command, volume, more)


def test_a_follower_without_a_token_does_not_start(tmp_path: Path) -> None:
    """Neither a missing Secret nor what is no token lets the pod go on."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    command = [word.replace(TOKENS, f"{tokens}/") for word in script("mirror", "smtpnic-follower")]
    more = {"POD_NAME": "smtpnic-follower-1"}
    assert run(command, tmp_path, more)[0] != 0
    (tokens / "smtpnic-follower-1").write_text("no token\n")
    code, said = run(command, tmp_path, more)
    assert (ExitCode.USAGE, True) == (code, "not a join token" in said)
