"""P1 as the kernel saw it: the disk has a change before its registrant hears of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lab.cluster import PUBLIC_PORT, Cluster
from tests.support.registrant import Registrant, secure_channel

CALLS = "fdatasync,fsync,sendmsg,sendto,write,writev"
_SYNC = re.compile(r"\b(?:fdatasync|fsync)\(\d+<(?P<path>[^>]*)>\)\s+= 0")
_RESUMED_SYNC = re.compile(r"<\.\.\. (?:fdatasync|fsync) resumed>\)\s+= 0")


def sent_to_client(line: str) -> bool:
    """Whether this call of the trace sent bytes from the public listener."""
    return bool(re.search(rf"(?:send\w+|write\w*)\(\d+<TCP(?:v6)?:\[[^>]*:{PUBLIC_PORT}->", line))


def test_sync_before_acknowledgement(tmp_path: Path) -> None:
    """Database and checkpoint file are synced before the bytes that acknowledge leave."""
    strace = shutil.which("strace")
    assert strace, "strace is installed by `make setup`"
    trace = tmp_path / "trace"
    with Cluster(tmp_path, secondaries=0) as cluster:
        cluster.prepare()
        # -D: the primary stays our child, strace is the grandchild.
        options = ["-D", "-f", "-yy", "-e", f"trace={CALLS}", "-o", str(trace)]
        cluster.primary.command[:0] = [strace, *options]
        cluster.start_primary()
        with secure_channel(cluster.public, cluster.ca, cluster.primary_address) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            before = trace.stat().st_size
            registrant.register("192.0.2.36")
            lines = trace.read_bytes()[before:].decode(errors="replace").splitlines()

    synced = [
        number
        for number, line in enumerate(lines)
        if _SYNC.search(line) or _RESUMED_SYNC.search(line)
    ]
    sent = [number for number, line in enumerate(lines) if sent_to_client(line)]
    paths = {Path(path).name for line in lines for path in re.findall(r"sync\(\d+<([^>]*)>", line)}
    assert {"registry.sqlite3-wal", "checkpoint"} <= paths
    assert len(synced) >= 2
    # What was sent after the last sync is the acknowledgement; nothing later needed the disk.
    assert sent
    assert synced[-1] < sent[-1]
