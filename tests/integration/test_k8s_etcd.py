"""etcd as the manifests have it: three members with TLS, and the jobs that look after them.

Commands, variables and mounts are those of the overlay `production`, as they stand there; each pod
has a network, a volume and a user of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.process import program
from node.tls import Identity
from primary.pki import Authority, Names
from tests.support.manifests import Pod, Resource, of_kind, pods, rendered, variables

OVERLAY = "production"
SCRIPT = Path(__file__).parents[1] / "support" / "etcd_pods.sh"
MEMBERS = ("etcd-0", "etcd-1", "etcd-2")
GROUP = 10001
SECONDS = 200
PUT = ("put", "smtpnic/kept", "here")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make such networks")


@dataclass(frozen=True)
class Stage:
    """A directory of pods, as tests/support/etcd_pods.sh reads it."""

    path: Path

    def volume(self, name: str) -> Path:
        """A volume that its pods may write to."""
        directory = self.path / "volumes" / name
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, GROUP, GROUP)
        return directory

    def secret(self, name: str, identity: Identity, authority: bytes) -> None:
        """What cert-manager would put there, with the mode that the manifests give."""
        directory = self.volume(name)
        files = {
            "ca.crt": authority,
            "tls.crt": identity.certificate,
            "tls.key": identity.key,
        }
        for file, data in files.items():
            (directory / file).write_bytes(data)
            (directory / file).chmod(0o440)
            os.chown(directory / file, 0, GROUP)

    def pod(
        self, name: str, command: list[str], env: dict[str, str], mounts: dict[str, str]
    ) -> None:
        """A pod to be; `mounts` by target."""
        lines = {
            "command": command,
            "env": [f"{key}={value}" for key, value in env.items()],
            "mounts": [f"volumes/{volume} {target}" for target, volume in mounts.items()],
        }
        for kind, some in lines.items():
            (self.path / f"{name}.{kind}").write_text("".join(f"{line}\n" for line in some))

    def run(self, *acts: str) -> None:
        """The members, and one act after another."""
        (self.path / "members").write_text("".join(f"{name}\n" for name in MEMBERS))
        own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        done = subprocess.run(
            [*own, SCRIPT, self.path, *acts],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def said(self, name: str) -> str:
        """What a pod printed; AssertionError if it failed."""
        text = (self.path / f"{name}.out").read_text()
        assert (self.path / f"{name}.code").read_text() == "0\n", f"{name}: {text[-3000:]}"
        return text


def workload(kind: str, name: str) -> Pod:
    """The pod of a workload."""
    (found,) = [
        pod for pod in pods(rendered(OVERLAY)) if (pod.workload["kind"], pod.name) == (kind, name)
    ]
    return found


def environment(pod: Pod, name: str) -> dict[str, str]:
    """Its variables, those that refer to others resolved as Kubernetes does it."""
    (container,) = pod.spec["containers"]
    found: dict[str, str] = {}
    for key, value in variables(rendered(OVERLAY), container).items():
        text = name if value == "?" else value
        for other, known in found.items():
            text = text.replace(f"$({other})", known)
        found[key] = text
    return found


def mounts(pod: Pod, own: str) -> dict[str, str]:
    """Volumes by where they are mounted; `own` for the one that belongs to the pod."""
    (container,) = pod.spec["containers"]
    named = {
        volume["name"]: volume["secret"]["secretName"] if "secret" in volume else volume["name"]
        for volume in pod.spec.get("volumes", [])
    }
    return {
        mount["mountPath"]: named.get(mount["name"], own) for mount in container["volumeMounts"]
    }


def certificate(name: str) -> Resource:
    """The Certificate that cert-manager is asked for."""
    found: list[Resource] = [
        one["spec"]
        for one in of_kind(rendered(OVERLAY), "Certificate")
        if one["spec"]["secretName"] == name
    ]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """The members and both jobs, and `put` and `get`, which ask in the same way."""
    stage = Stage(tmp_path)
    now = datetime.now(UTC)
    authority = Authority.create("etcd", now)
    trusted = authority.identity.certificate
    names = Names.parse(certificate("etcd-tls")["dnsNames"], [])
    stage.secret("etcd-tls", authority.issue_node("etcd", names, now), trusted)
    client = authority.issue_node("client", Names.parse(["smtpnic"], []), now)
    stage.secret("etcd-client-tls", client, trusted)
    members = workload("StatefulSet", "etcd")
    for name in MEMBERS:
        stage.volume(f"data-{name}")
        command = list(members.spec["containers"][0]["command"])
        stage.pod(name, command, environment(members, name), mounts(members, f"data-{name}"))
    stage.volume("backup")
    for name in ("etcd-defrag", "etcd-backup"):
        job = workload("CronJob", name)
        command = list(job.spec["containers"][0]["command"])
        stage.pod(name, command, environment(job, name), mounts(job, ""))
    asking = environment(workload("CronJob", "etcd-defrag"), "")
    tls = mounts(workload("CronJob", "etcd-defrag"), "")
    etcdctl = ["/usr/local/bin/etcdctl"]
    for name, words in (("put", PUT), ("get", ("get", "smtpnic/kept")), ("again", PUT)):
        stage.pod(name, [*etcdctl, *words, "--command-timeout=10s"], asking, tls)
    return stage


def test_jobs_look_after_three_members(stage: Stage, tmp_path: Path) -> None:
    """Defragmentation reaches every member; a copy is made while one is dead, and can be read."""
    restored = tmp_path / "restored"
    reader = workload("StatefulSet", "smtpnic-follower")
    secondary = stage.volume("secondary")
    (secondary / "secondary.toml").write_text('name = "m"\nupstream = "127.0.0.1:1"\n')
    command = [program("smtpnic-secondary"), "preflight", "-c", "/settings/secondary.toml"]
    paths = {"/settings": "secondary", "/etc/smtpnic-etcd": "etcd-client-tls"}
    stage.pod("preflight", command, environment(reader, "m"), paths)
    stage.run(
        "insist put",
        "insist preflight",
        "insist etcd-defrag",
        "lose etcd-0",
        "insist again",
        "pod etcd-backup",
        "pod get",
    )

    stage.said("put")
    assert "good" in stage.said("preflight")
    finished = stage.said("etcd-defrag").count("Finished defragmenting etcd member")
    assert len(MEMBERS) == finished
    stage.said("again")
    assert ["smtpnic/kept", "here"] == stage.said("get").split()
    stage.said("etcd-backup")
    etcdctl = shutil.which("etcdctl")
    assert etcdctl
    copy = stage.volume("backup") / "etcd.db"
    subprocess.run(
        [etcdctl, "snapshot", "restore", copy, "--data-dir", restored],
        check=True,
        capture_output=True,
        env={**os.environ, "ETCDCTL_API": "3"},
    )
    assert b"smtpnic/kept" in (restored / "member" / "snap" / "db").read_bytes()


def test_who_has_no_certificate_is_not_let_in(stage: Stage) -> None:
    """Neither in the clear, nor over TLS as nobody."""
    asking = environment(workload("CronJob", "etcd-defrag"), "")
    tls = mounts(workload("CronJob", "etcd-defrag"), "")
    (endpoint,) = [value for key, value in asking.items() if key == "ETCDCTL_ENDPOINTS"]
    get = ["/usr/local/bin/etcdctl", "get", "smtpnic/kept", "--command-timeout=3s"]
    plain = {"ETCDCTL_ENDPOINTS": endpoint.replace("https", "http")}
    stage.pod("plain", get, plain, {})
    nobody = {"ETCDCTL_ENDPOINTS": endpoint, "ETCDCTL_CACERT": asking["ETCDCTL_CACERT"]}
    stage.pod("nobody", get, nobody, tls)
    stage.run("insist put", "pod plain", "pod nobody", "pod get")

    stage.said("put")
    assert ["smtpnic/kept", "here"] == stage.said("get").split()
    for name in ("plain", "nobody"):
        assert (stage.path / f"{name}.code").read_text() != "0\n"
