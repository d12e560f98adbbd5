"""How many registrations a primary looks at again in a second, with 5 % dead name servers.

A real primary with a sample of active registrations, all due at once in random order, asks one
local resolver. What 10,000,000 would take in 24 hours is 116 a second.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import insert

from bench.fill import commit_all
from bench.processes import cpu_seconds
from bench.registrant import CONTACT
from bench.results import console, load_average, print_table, write_results
from bench.reverify_names import PORT, MailServer, names_of
from lab.cluster import Cluster, loopback_network
from primary.changes import Change, CreateHolder, Register, SetStatus
from primary.clock import clock_ms
from primary.desk.standings import standing_row
from primary.registering.judging import Subject
from primary.registering.schedule import HOUR_MS, TRIAL_PROOFS, Trial
from primary.registering.standing import Standing
from primary.settings import PrimarySettings
from primary.store.database import Database
from primary.store.schema import standings
from registry.address import Address
from registry.holder import holder_id_of
from registry.kinds import Status

ALL: Final = 10_000_000
DAY_SECONDS: Final = 24 * 3600
SERVERS_A_HOLDER: Final = 100
# The end of the sample waits for the last of the dead, and would not tell the rate.
MEASURED_SHARE: Final = 0.9


def _changes(servers: list[MailServer]) -> Iterator[tuple[Change, MailServer | None, bytes]]:
    """Every change, with the mail server that it registers, and its holder."""
    for start in range(0, len(servers), SERVERS_A_HOLDER):
        key = os.urandom(32)
        holder = holder_id_of(key)
        yield CreateHolder(holder, key, CONTACT), None, holder
        for one in servers[start : start + SERVERS_A_HOLDER]:
            address = Address.parse(one.address)
            yield Register(holder, key, address, one.host, one.domain), one, holder
            yield SetStatus(holder, address, Status.ACTIVE), None, holder


def fill(settings: PrimarySettings, servers: list[MailServer]) -> None:
    """Registers them all as active; they were due to be looked at within the last hour."""
    planned, now_ms, dice = list(_changes(servers)), clock_ms(), random.Random(1)
    commit_all(settings, (change for change, _, _ in planned))
    rows = []
    for _, one, holder in planned:
        if one is not None:
            subject = Subject(holder, Address.parse(one.address), one.host, one.domain)
            trial = Trial(now_ms, TRIAL_PROOFS, now_ms, now_ms - dice.randrange(HOUR_MS))
            rows.append(standing_row(Standing(subject, "", trial)))
    database = Database(settings.store_url)
    with database.writing() as connection:
        connection.execute(insert(standings), rows)
    database.close()


def measure(cluster: Cluster, resolver_pid: int, sample: int, seconds: float) -> dict[str, float]:
    """Lets the primary look until most are seen, or time is over."""
    started_ms = clock_ms()
    cluster.start_primary()
    database = next(cluster.primary_dir.rglob("*.sqlite3"))
    primary = cluster.primary.pid
    wanted, seen = int(sample * MEASURED_SHARE), 0
    began, cpu = time.monotonic(), (cpu_seconds(primary), cpu_seconds(resolver_pid))
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while seen < wanted and time.monotonic() < began + seconds:
            time.sleep(0.5)
            due = connection.execute(
                "SELECT count(*) FROM standings WHERE look_ms <= ?", (started_ms,)
            )
            seen = sample - due.fetchone()[0]
        took = time.monotonic() - began
        spent = (cpu_seconds(primary) - cpu[0], cpu_seconds(resolver_pid) - cpu[1])
        later = connection.execute(
            "SELECT count(*) FROM standings WHERE look_ms BETWEEN ? AND ?",
            (started_ms + 1, started_ms + 3 * HOUR_MS),
        ).fetchone()[0]
        failing = connection.execute("SELECT count(*) FROM standings WHERE failed_days > 0")
        failed = failing.fetchone()[0]
    rate = seen / took
    return {
        "seen": seen,
        "seconds": took,
        "per_second": rate,
        "put_off": later,
        "failed": failed,
        "primary_cpu_percent": 100 * spent[0] / took,
        "resolver_cpu_percent": 100 * spent[1] / took,
        "primary_cpu_ms_each": 1000 * spent[0] / seen,
        "primary_mib": _resident_mib(primary),
        "hours_for_all": ALL / rate / 3600,
    }


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def main() -> None:
    """Measures, prints, and leaves `bench/results/reverify.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=int(os.environ.get("SAMPLE", "40000")))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS", "150")))
    options = parser.parse_args()
    load = load_average()
    servers = [MailServer(number) for number in range(options.sample)]
    with tempfile.TemporaryDirectory() as name:
        network = loopback_network()
        env = {
            "SMTPNIC_PRIMARY_REGISTERING__RESOLVERS": f'["{network}.2:{PORT}"]',
            "SMTPNIC_PRIMARY_SNAPSHOT_EVERY": str(10**9),
        }
        cluster = Cluster(Path(name) / "cluster", 0, primary_env=env)
        cluster.prepare()
        console.print(f"filling with {options.sample:,} registrations")
        fill(PrimarySettings.load(cluster.primary_dir / "primary.toml"), servers)
        with names_of(servers, Path(name) / "names", network) as resolver, cluster:
            found = measure(cluster, resolver.pid, options.sample, options.seconds)
    print_table("looked at again", ["", "figure"], [[key, value] for key, value in found.items()])
    console.print(f"wanted: {ALL / DAY_SECONDS:.0f} a second, for {ALL:,} in 24 hours")
    write_results("reverify", {"load_average": load, "sample": options.sample, **found})


if __name__ == "__main__":
    main()
