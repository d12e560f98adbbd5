"""What processes took of the machine so far, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from lab.cluster import Cluster, Secondary
from secondary.settings import Role

KIB_A_MIB: Final = 1024
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


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
    """CPU time of a process so far, all its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS_A_SECOND


def rss_mb(pid: int) -> float:
    """Resident memory of a process now, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / KIB_A_MIB, 1)
    return 0.0
