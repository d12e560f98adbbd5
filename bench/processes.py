"""What processes took of the machine so far."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lab.cluster import Cluster, Secondary
from secondary.settings import Role

KIB_A_MIB: Final = 1024
# CPUCLOCK_SCHED in Linux's posix-timers.h: what the scheduler counted, in nanoseconds.
_SCHEDULER_CLOCK: Final = 2


def processes(cluster: Cluster, secondary: Secondary) -> dict[str, int]:
    """Process ids of the primary and of every process of one secondary, by name."""
    roles = {role.value: secondary.role_pid(role.value) for role in Role}
    return {
        "primary": cluster.primary.pid,
        **roles,
        "etcd": secondary.etcd_pid(),
        "supervisor": secondary.process.pid,
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all its threads included; OSError if there is none."""
    # As clock_getcpuclockid(3) makes it; proc(5) counts in ticks, which are too long for the
    # thousands of queries of a low rate.
    return time.clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)


def session_pids(leader: int) -> list[int]:
    """Every living process of the session that `leader` began."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text(encoding="utf-8")
        except OSError:
            # It has ended meanwhile.
            continue
        if int(stat.rpartition(")")[2].split()[3]) == leader:
            found.append(int(directory.name))
    return found


def pin_threads(pids: Iterable[int], core: int | None) -> None:
    """Moves every thread of several processes to one core; None leaves them where they are."""
    if core is not None:
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def shared_rss_mb(pids: Iterable[int]) -> float:
    """Resident memory of several processes now, in MiB; pages they share count once."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return round(kib / KIB_A_MIB, 1)


def rss_mb(pid: int) -> float:
    """Resident memory of a process now, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / KIB_A_MIB, 1)
    return 0.0
