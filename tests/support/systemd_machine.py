"""systemd in the isolation of a mail server: the same files and the same network, booted."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.mail_server import shell
from tests.support.wait import wait_until

UNITS: Final = Path("/etc/systemd/system")
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
_ROOT: Final = Path("/machine")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OUTPUT: Final = Path("/var/log/machine.log")
# What is enabled on this machine may want the same ports: nothing is started but what is named.
_TARGET: Final = "bare.target"
# Below a changed root nobody may make user namespaces (unshare(2), EPERM), as PrivateUsers= of the
# units does: the container starts from where the isolation's first process is.
_OUT_OF_HERE: Final = ("nsenter", "--target=1", "--root", "--wd=/", "unshare", "--mount")
_BOOT: Final = """
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo $$ >"$0/cgroup.procs"
exec systemd-nspawn "$@"
"""


class SystemdMachine:
    """systemd as the first process of a container over this root; a context manager.

    Only within the isolation: it takes all of `*.wants` out of `/etc/systemd/system`.
    """

    def __init__(self) -> None:
        for wants in UNITS.glob("*.wants/*"):
            wants.unlink()
        (UNITS / _TARGET).write_text(
            "[Unit]\nAllowIsolate=yes\nRequires=basic.target\nAfter=basic.target\n",
            encoding="utf-8",
        )
        for kind, path in (("sysfs", "/sys"), ("cgroup2", str(_CGROUPS))):
            subprocess.run(["mount", "-t", kind, kind, path], check=True)
        _ROOT.mkdir()
        # With what lies on other file systems, but for those that it makes anew.
        subprocess.run(["mount", "--rbind", "/", str(_ROOT)], check=True)
        for name in ("dev", "proc", "run", "sys", "tmp"):
            subprocess.run(["umount", "--recursive", str(_ROOT / name)], check=True)

    def run(self, commands: str) -> str:
        """What a shell script prints in there, as root; AssertionError if a command fails."""
        return shell(*self._inside, "/bin/sh", "-euc", commands)

    def attempt(self, commands: str) -> subprocess.CompletedProcess[str]:
        """The same, for what may fail."""
        return subprocess.run(
            [*self._inside, "/bin/sh", "-euc", commands],
            capture_output=True,
            text=True,
            check=False,
        )

    def __enter__(self) -> Self:
        # A cgroup of its own: what runs elsewhere on this machine may have a systemd too.
        self._cgroup = Path(tempfile.mkdtemp(prefix="smtpnic-", dir=_CGROUPS))
        options = (
            *(f"--directory={_outer_path(_ROOT)}", "--register=no", "--keep-unit"),
            *("--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        )
        boot = ["/bin/sh", "-euc", _BOOT, str(self._cgroup), *options, "--boot"]
        with _OUTPUT.open("wb") as output:
            self._process = subprocess.Popen(
                [*_OUT_OF_HERE, *boot, f"systemd.unit={_TARGET}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(self._is_up, seconds=START_SECONDS, what="systemd in the isolation")
        except AssertionError:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        # It powers its container off.
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            # Its files are the kernel's, and go with it.
            Path(directory).rmdir()

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self._leader()}", "--all", "--root", "--wd"]

    def _leader(self) -> int:
        process = self._process
        assert process.poll() is None, _OUTPUT.read_text(encoding="utf-8")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        found = children.read_text(encoding="ascii").split()
        return int(found[0]) if found else 0

    def _is_up(self) -> bool:
        if not self._leader():
            return False
        said = self.attempt("systemctl is-system-running").stdout.strip()
        return said in ("running", "degraded")


def _outer_path(mounted: Path) -> str:
    """The mount point as the isolation's first process sees it (proc(5): mount ID, ..., point)."""
    here = {fields[4]: fields[0] for fields in _mounts("self")}
    (point,) = [fields[4] for fields in _mounts("1") if fields[0] == here[str(mounted)]]
    return point


def _mounts(process: str) -> list[list[str]]:
    text = Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines()]
