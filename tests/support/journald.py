"""systemd's journal without systemd: the daemon alone, in a copy of the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.wait import wait_until

DAEMON: Final = "/lib/systemd/systemd-journald"
DIRECTORY: Final = Path("/run/systemd/journal")
# Where it passes on what programs log, if it was told to.
FORWARDED: Final = DIRECTORY / "syslog"
_INTAKE: Final = DIRECTORY / "dev-log"
_DEVICE: Final = Path("/dev/log")
_SETTINGS: Final = Path("/etc/systemd/journald.conf.d/forward.conf")


class Journald:
    """Takes what is written to /dev/log, keeps it, and passes it on; a context manager."""

    def __init__(self) -> None:
        # It wants to know of which unit a program is.
        for kind, path in (("sysfs", "/sys"), ("cgroup2", "/sys/fs/cgroup")):
            subprocess.run(["mount", "-t", kind, kind, path], check=True)
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        _SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        _SETTINGS.write_text("[Journal]\nForwardToSyslog=yes\n", encoding="utf-8")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([DAEMON], stderr=subprocess.DEVNULL)
        wait_until(_INTAKE.exists, seconds=30, what="the journal listening")
        _DEVICE.unlink(missing_ok=True)
        _DEVICE.symlink_to(_INTAKE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
