"""How ours answers while its table changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.dns_generators import Load
from bench.dns_measuring import Asker, Extent, Measured, measure
from bench.dns_servers import Subject
from bench.dns_serving import CHANGES_A_BATCH


@dataclass(frozen=True, slots=True)
class UnderChanges:
    """Without and with changes, by server; `changes_a_second` are those that it came to take."""

    idle: Measured
    changing: Measured
    changes_a_second: dict[str, float]


def under_changes(subjects: Sequence[Subject], ask: Asker, extent: Extent) -> UnderChanges:
    """Each load once without changes and once with, as often as there are rounds."""
    rates: dict[str, float] = {}

    def while_changing(subject: Subject, seconds: float) -> Load:
        load, rates[subject.name] = _while_changing(subject, ask, seconds)
        return load

    idle = measure(subjects, ask, extent)
    return UnderChanges(idle, measure(subjects, while_changing, extent), rates)


def _while_changing(subject: Subject, ask: Asker, seconds: float) -> tuple[Load, float]:
    """The load, and how many changes a second the server took during it."""
    subject.switch_changes()
    try:
        before, began = subject.serial(), time.monotonic()
        load = ask(subject, seconds)
        took = time.monotonic() - began
        return load, (subject.serial() - before) * CHANGES_A_BATCH / took
    finally:
        subject.switch_changes()
