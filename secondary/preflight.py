"""Whether an etcd will do: its version, its limits, its health; and what to change if not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.errors import ConfigurationError
from secondary.child_etcd import installed_version
from secondary.etcd import EtcdStore
from secondary.etcd.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS
from secondary.etcd_values import EtcdError, EtcdRefused, EtcdStatus
from secondary.settings import SecondarySettings

# Watches in fragments and learners came with it.
OLDEST: Final = (3, 4, 0)
# They lose data after a crash (etcd#13766).
LOSING_DATA: Final = ((3, 5, 0), (3, 5, 2))
# Before these, etcd may be inconsistent after a crash during compaction or defragmentation.
ADVISED: Final = {(3, 4): (3, 4, 22), (3, 5): (3, 5, 6)}

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Verdict(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    # It works; it can be better.
    ADVICE = "advice"
    # Not to be used like this.
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    text: str


def check_version(version: str) -> Finding:
    """What is to be said of a version of etcd."""
    match = _VERSION.match(version)
    if match is None:
        return Finding(Verdict.ADVICE, f"etcd {version}: not a version this program knows")
    number = (int(match[1]), int(match[2]), int(match[3]))
    if LOSING_DATA[0] <= number <= LOSING_DATA[1]:
        return Finding(Verdict.BAD, f"etcd {version} loses data after a crash: use 3.5.6 or later")
    if number < OLDEST:
        return Finding(Verdict.BAD, f"etcd {version} is too old: use 3.4.22 or later")
    advised = ADVISED.get(number[:2], number)
    if number < advised:
        better = ".".join(map(str, advised))
        return Finding(Verdict.ADVICE, f"etcd {version} has known faults: use {better} or later")
    return Finding(Verdict.GOOD, f"etcd {version}")


def check(settings: SecondarySettings) -> Iterator[Finding]:
    """All that can be looked at now.

    ConfigurationError if there is no etcd to start; ConnectionError if there is one to be
    asked, and it does not answer.
    """
    store = EtcdStore(settings.etcd_endpoints, settings.etcd.tls)
    try:
        if not settings.etcd.endpoints:
            yield check_version(installed_version(settings))
            if not settings.etcd_socket.exists():
                return
        yield from check_running(store, settings)
    except EtcdError as error:
        raise ConnectionError(f"{', '.join(settings.etcd_endpoints)}: {error}") from error
    finally:
        store.close()


def check_running(store: EtcdStore, settings: SecondarySettings) -> Iterator[Finding]:
    """The etcd that runs; EtcdError if it cannot be asked."""
    status = store.status()
    yield check_version(status.version)
    yield from _check_health(status)
    yield _check_limits(store, settings)
    yield _check_room(status, settings)


def require(findings: Iterable[Finding]) -> None:
    """ConfigurationError with all that is bad, if anything is."""
    bad = [finding.text for finding in findings if finding.verdict is Verdict.BAD]
    if bad:
        raise ConfigurationError("; ".join(bad))


def _check_health(status: EtcdStatus) -> Iterator[Finding]:
    if not status.has_leader:
        yield Finding(Verdict.BAD, "etcd has no leader: start a majority of its members")
    for alarm in status.alarms:
        advice = "compact and defragment it, or raise its quota; then 'etcdctl alarm disarm'"
        if alarm != "NOSPACE":
            advice = "restore the member from the others"
        yield Finding(Verdict.BAD, f"etcd raises the alarm {alarm}: {advice}")


def _check_limits(store: EtcdStore, settings: SecondarySettings) -> Finding:
    try:
        store.probe_limits(settings.layout.all + b"probe", MAX_TXN_OPERATIONS, MAX_TXN_BYTES)
    except EtcdRefused as error:
        return Finding(
            Verdict.BAD,
            f"etcd does not take a batch ({error}): start it with "
            f"--max-txn-ops={MAX_TXN_OPERATIONS} and --max-request-bytes=1572864, its defaults",
        )
    except EtcdError as error:
        return Finding(Verdict.BAD, f"etcd does not take a transaction: {error}")
    return Finding(Verdict.GOOD, f"{MAX_TXN_OPERATIONS} operations in a transaction")


def _check_room(status: EtcdStatus, settings: SecondarySettings) -> Finding:
    used = f"{status.db_bytes >> 20} MiB on disk, {status.db_bytes_in_use >> 20} MiB in use"
    if not settings.etcd.endpoints:
        quota = settings.etcd.quota_bytes
        verdict = Verdict.GOOD if status.db_bytes < quota * 0.8 else Verdict.ADVICE
        return Finding(verdict, f"{used}, quota {quota >> 20} MiB (etcd.quota_bytes)")
    return Finding(
        Verdict.ADVICE,
        f"{used}; the quota cannot be asked for: start etcd with --quota-backend-bytes="
        "8589934592 and --auto-compaction-mode=periodic --auto-compaction-retention=5m",
    )
