"""Images built and containers run with buildah and podman, in a store of their own.

The base is this machine's Debian, made by mmdebstrap: nothing comes from a registry of images.
Containers have a network namespace with nothing but loopback, and share it.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
USER = 10001
BUILD_SECONDS = 900
RUN_SECONDS = 120
# Debian 12's runc and podman want limits that a container's kernel may lower.
_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
# What the engine lays over the image's own.
_ENGINES = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
_LOCKED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--pull=never")


@dataclass(frozen=True)
class Engine:
    """buildah and podman, with their images and containers below `home`."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        storage = self.home / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.home}/store"\n'
            f'runroot = "{self.home}/run"\n'
        )
        self.env.update(
            os.environ, CONTAINERS_STORAGE_CONF=str(storage), BUILDAH_ISOLATION="chroot"
        )

    def run(self, command: Sequence[str], *, seconds: float = RUN_SECONDS) -> str:
        """What the command printed; AssertionError with its errors if it failed."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{command}: {(done.stdout + done.stderr).decode()[-4000:]}"
        return done.stdout.decode()

    def podman(self, *arguments: str) -> str:
        """What podman printed."""
        return self.run(["podman", *arguments])

    def build_base(self) -> str:
        """An image of a minimal Debian; its name."""
        archive = self.home / "base.tar"
        if not archive.exists():
            command = ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(archive)]
            self.run(command, seconds=BUILD_SECONDS)
        return self._build("base", "FROM scratch\nADD base.tar /\n")

    def build_etcd(self, base: str) -> str:
        """An image of Debian's etcd; its name."""
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends etcd-server"
        return self._build("etcd", f"FROM {base}\nRUN {install}\n")

    def _build(self, name: str, containerfile: str) -> str:
        file = self.home / f"{name}.containerfile"
        file.write_text(containerfile)
        tag = f"localhost/{name}:test"
        command = ["buildah", "build", "--layers", "--tag", tag, "--file", str(file)]
        self.run([*command, str(self.home)], seconds=BUILD_SECONDS)
        return tag

    def build_image(self, base: str, *, anew: bool = False) -> str:
        """The project's image, as `scripts/image` builds it; its name.

        `anew`: every step is done again, whatever was kept of an earlier build.
        """
        tag = "localhost/smtp-registry:again" if anew else "localhost/smtp-registry:test"
        kept = "--no-cache" if anew else "--layers"
        # pip in the build trusts whom this machine trusts.
        settings = self.home / "pip.conf"
        settings.write_text("[global]\ncert = /etc/pip-authorities.pem\n")
        authorities = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
        volumes = [f"--volume={settings}:/etc/pip.conf:ro"]
        volumes.append(f"--volume={authorities}:/etc/pip-authorities.pem:ro")
        command = ["scripts/image", tag, kept, "--build-arg", f"BASE={base}", *volumes]
        self.run(command, seconds=BUILD_SECONDS)
        return tag

    def layers(self, image: str) -> list[str]:
        """The digests of what the image's layers hold, the base's first."""
        found: list[str] = json.loads(
            self.podman("image", "inspect", "--format={{json .RootFS.Layers}}", image)
        )
        return found

    def files(self, image: str) -> dict[str, str]:
        """The digest of each file of the image, by its path."""
        run = ("--runtime=runc", "run", "--rm", "--network=none", "--user=0", *_LIMITS, *_LOCKED)
        script = "find / -xdev -type f -exec sha256sum {} +"
        lines = self.podman(*run, image, "sh", "-c", script).splitlines()
        found = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
        return {path: digest for path, digest in found.items() if path not in _ENGINES}

    def describe(self, image: str) -> dict[str, str]:
        """The image's labels."""
        found: dict[str, str] = json.loads(
            self.podman("image", "inspect", "--format={{json .Labels}}", image)
        )
        return found


@dataclass(frozen=True)
class Site:
    """Containers that share a network namespace and a directory, `shared`, as /var/lib/smtpnic.

    A container holds the namespace open.
    """

    engine: Engine
    image: str
    shared: Path

    def __post_init__(self) -> None:
        self.shared.mkdir(parents=True)
        os.chown(self.shared, USER, USER)
        # Those of a run that was cut off.
        self.close()
        self._run(["--detach", "--name=pause", "--network=none"], ["sleep", "infinity"])

    def command(self, *command: str, env: Sequence[str] = ()) -> str:
        """What a command in a container of its own printed."""
        return self._run(["--rm", "--network=container:pause", *env], command)

    def start(self, name: str, *command: str, env: Sequence[str] = (), image: str = "") -> None:
        """Starts a container that goes on."""
        options = ["--detach", f"--name={name}", "--network=container:pause", *env]
        self._run(options, command, image)

    def _run(self, options: Sequence[str], command: Sequence[str], image: str = "") -> str:
        volume = f"--volume={self.shared}:/var/lib/smtpnic"
        own = ["--runtime=runc", "run", *_LIMITS, *_LOCKED, f"--user={USER}:{USER}", volume]
        return self.engine.podman(*own, *options, image or self.image, *command)

    def logs(self, name: str) -> str:
        """What a container has said so far."""
        done = subprocess.run(
            ["podman", "logs", name],
            env=self.engine.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.stdout.decode()

    def pid(self, name: str) -> int:
        """Process id of a container's program."""
        return int(self.engine.podman("inspect", "--format={{.State.Pid}}", name))

    def inside(self, *command: str) -> str:
        """What a program of this machine printed in the containers' network."""
        namespace = f"--net=/proc/{self.pid('pause')}/ns/net"
        return self.engine.run(["nsenter", namespace, *command])

    def stop(self, name: str, seconds: int = 30) -> int:
        """Asks a container to end; its exit code."""
        self.engine.podman("stop", f"--time={seconds}", name)
        return int(self.engine.podman("inspect", "--format={{.State.ExitCode}}", name))

    def start_again(self, name: str) -> None:
        """Starts a container that was stopped."""
        self.engine.podman("start", name)

    def close(self) -> None:
        """Ends and removes all containers."""
        self.engine.podman("rm", "--force", "--ignore", "--time=0", "--depend", "pause")
