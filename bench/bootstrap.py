"""A new secondary, from nothing until it answers, by snapshot; its restart; what it takes.

Answering means that the state root was computed from what is served, and is the one signed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.filled import LOAD_SECONDS, filled_cluster, last_address, start_secondary
from bench.processes import processes, rss_mb
from bench.results import console, load_average, print_table, write_results
from lab.asking import wait_for
from lab.cluster import Cluster, Secondary
from lab.process import LabError, program, run
from secondary.etcd import EtcdStore
from secondary.settings import SecondarySettings

# What the processes log on their way, and what has been done by then.
MILESTONES: Final = {
    "follower.started": "etcd and processes started",
    "snapshot.loading": "snapshot downloaded",
    "snapshot.served": "stored in etcd, read back, verified, made current",
    "replica.loaded": "read from etcd and verified by a serving role",
}


def measure(root: Path, registrations: int) -> dict[str, Any]:
    """One size of the register."""
    with filled_cluster(root, registrations, 1) as cluster:
        (secondary,) = cluster.secondaries
        address = last_address(registrations)
        began = datetime.now().timestamp()
        seconds = start_secondary(secondary, address)
        console.print(f"  {registrations:,} registrations: served after {seconds:.1f} s")
        steps = milestones(secondary, began)
        memory = memory_mb(cluster, secondary)
        stored = etcd_bytes(secondary)
        secondary.process.stop()
        restart = start_secondary(secondary, address)
        console.print(f"  {registrations:,} registrations: restarted in {restart:.1f} s")
        # DNS serves its table file before the other roles have started.
        wait_for(
            lambda: secondary.ask_whois(address) != "",
            LOAD_SECONDS,
            "WHOIS answers after the restart",
        )
        after_restart = memory_mb(cluster, secondary)
        secondary.process.stop()
        load_s = table_file_seconds(secondary, registrations)
    return {
        "seconds": round(seconds, 2),
        "restart_seconds": round(restart, 2),
        "load_s": load_s,
        "steps_seconds": steps,
        "rss_mb": memory,
        "rss_after_restart_mb": after_restart,
        "etcd_bytes_a_record": round(stored / registrations, 1),
    }


def table_file_seconds(secondary: Secondary, registrations: int) -> float:
    """Seconds that DNS takes for its table file, state root and all, while nothing else runs."""
    command = [program("python"), "-m", "bench.table_file", str(secondary.settings_file)]
    names, seconds = run(command, seconds=LOAD_SECONDS).split()
    if int(names) != registrations:
        raise LabError(f"the table file has {names} names of {registrations}")
    return float(seconds)


def memory_mb(cluster: Cluster, secondary: Secondary) -> dict[str, float]:
    """The resident memory of each process now."""
    return {name: rss_mb(pid) for name, pid in processes(cluster, secondary).items()}


def etcd_bytes(secondary: Secondary) -> int:
    """What the data in etcd takes on disk."""
    settings = SecondarySettings.load(secondary.settings_file)
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    try:
        return store.status().db_bytes_in_use
    finally:
        store.close()


def milestones(secondary: Secondary, began: float) -> dict[str, float]:
    """Seconds from the start until each step was done, by what the processes logged."""
    found: dict[str, float] = {}
    for line in secondary.process.log.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        name = MILESTONES.get(event.get("event", ""))
        if name and name not in found:
            at = datetime.fromisoformat(event["timestamp"]).timestamp()
            found[name] = round(at - began, 2)
    return found


def report(found: dict[int, dict[str, Any]], load_before: float) -> dict[str, Any]:
    """Prints the tables; the figures for the file."""
    names = [f"{registrations:,} registrations" for registrations in found]
    figures = list(found.values())
    rows: list[list[object]] = [
        ["seconds until served and verified", *(f["seconds"] for f in figures)],
        ["seconds to restart", *(f["restart_seconds"] for f in figures)],
        ["seconds to load the table file", *(f["load_s"] for f in figures)],
        ["bytes a record in etcd", *(f["etcd_bytes_a_record"] for f in figures)],
    ]
    print_table("A new secondary", ["", *names], rows)
    for title, key in (("", "rss_mb"), (" after a restart", "rss_after_restart_mb")):
        rows = [[process, *(f[key][process] for f in figures)] for process in figures[0][key]]
        print_table(f"Resident memory{title}, MB", ["", *names], rows)
    for name, f in zip(names, figures, strict=True):
        steps = [[step, seconds] for step, seconds in f["steps_seconds"].items()]
        print_table(f"Seconds until done, {name}", ["", "s"], steps)
    whole: dict[str, Any] = {"load_before": load_before}
    for key in figures[0]:
        whole[key] = {str(size): f[key] for size, f in found.items()}
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-bootstrap", description=__doc__)
    sizes = os.environ.get("REGISTRATIONS", "100000")
    parser.add_argument("--registrations", default=sizes, help="one size or more, with commas")
    arguments = parser.parse_args()
    load_before, found = load_average(), {}
    for text in arguments.registrations.split(","):
        with tempfile.TemporaryDirectory(prefix="smtpnic-bootstrap-") as directory:
            found[int(text)] = measure(Path(directory), int(text))
    path = write_results("bootstrap", report(found, load_before))
    console.print(f"  written to {path}")


if __name__ == "__main__":
    main()
