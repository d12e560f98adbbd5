"""`smtpnic top`: what metrics and entries come to, and how it is laid out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from registry.entry import Entry
from registry.kinds import Kind, Operation
from smtpnic.nodes import NodeState
from smtpnic.top.changes import describe, newest
from smtpnic.top.metrics import Reading, judge
from smtpnic.top.screen import Moment

URL = "http://192.0.2.53:7451"


def reading(time_s: float, **values: float) -> Reading:
    text = '# TYPE smtpnic_build_info gauge\nsmtpnic_build_info{role="dns",version="1.0"} 1\n'
    text += "# TYPE smtpnic_dns_answers counter\n"
    for rcode in ("NOERROR", "SERVFAIL"):
        count = values.pop(rcode, 0)
        text += f'smtpnic_dns_answers_total{{type="A",rcode="{rcode}"}} {count}\n'
    return Reading.parse(URL, time_s, text + "".join(f"{n} {v}\n" for n, v in values.items()))


def test_rates_are_between_two_looks() -> None:
    """Queries a second, and the share that failed."""
    state = judge(reading(10.0, NOERROR=100, SERVFAIL=2), reading(12.0, NOERROR=298, SERVFAIL=4))

    assert 100.0 == state.queries_per_second
    assert 0.01 == state.servfail_share
    assert ("dns", "1.0", ()) == (state.role, state.version, state.alarms)


def test_the_first_look_has_no_rates_and_a_restart_no_negative_ones() -> None:
    """Nothing is shown that was not seen."""
    assert judge(None, reading(1.0, NOERROR=5)).queries_per_second is None
    assert 0.0 == judge(reading(1.0, NOERROR=500), reading(2.0, NOERROR=5)).queries_per_second


@pytest.mark.parametrize(
    ("metric", "value", "alarm"),
    [
        ("smtpnic_view_loaded", 0, "nothing verified is loaded"),
        ("smtpnic_etcd_up", 0, "etcd is away"),
        ("smtpnic_follower_out_of_rotation", 1, "it lacks what its peers have"),
        ("smtpnic_follower_lag_seconds", 61, "behind for more than a minute"),
        ("smtpnic_forked", 1, "the log has forked"),
        ('smtpnic_follower_phase{phase="forked"}', 1, "following has ended"),
        ('smtpnic_certificate_expires_days{certificate="node"}', 3, "node ends in 3 days"),
    ],
)
def test_alarms(metric: str, value: float, alarm: str) -> None:
    """What one look can tell is told; a process that is well has none."""
    (found,) = judge(None, reading(1.0, **{metric: value})).alarms

    assert alarm in found
    assert () == judge(None, reading(1.0, smtpnic_view_loaded=1, smtpnic_etcd_up=1)).alarms


def test_a_process_that_does_not_answer() -> None:
    """Its reason is an alarm."""
    assert ("no metrics: refused",) == judge(
        None, Reading(URL, 1.0, problem="no metrics: refused")
    ).alarms


def entry(kind: int, key: bytes, operation: Operation = Operation.PUT) -> bytes:
    return Entry(kind, key, operation, False, 1_000, b"").encode()


def test_changes_are_told_in_words_the_newest_first() -> None:
    """Those that close a batch are left out, and what is unknown is told as far as it goes."""
    entries = [
        (7, entry(Kind.REGISTRATION, bytes([192, 0, 2, 1]))),
        (8, entry(Kind.STATE, b"")),
        (9, entry(Kind.REGISTRATION, bytes([192, 0, 2, 1]), Operation.DELETE)),
        (10, entry(99, b"\x01")),
        (11, b"\xff"),
    ]

    found = newest(entries, 2)

    assert [(10, "kind 99 01 put"), (9, "registration 192.0.2.1 removed")] == [
        (one.index, one.what) for one in found
    ]


def test_a_removed_key_is_told_as_one() -> None:
    """The log has an entry while it is removed, and that entry's end lets it follow again."""
    told = [
        view.what
        for operation in (Operation.PUT, Operation.DELETE)
        if (view := describe(7, entry(Kind.REMOVED_KEY, bytes(32), operation))) is not None
    ]
    zeros = "0" * 32
    assert [f"a node's key {zeros} removed", f"a node's key {zeros} may follow again"] == told


def test_the_layout_tells_all_of_it() -> None:
    """Nodes, processes, changes and alarms; nothing that came from elsewhere moves the cursor."""
    moment = Moment(
        1_000_000_000_000,
        [NodeState("mirror", "192.0.2.53:7443", name="mirror-1\x1b[2J", advice=("it is stopped",))],
        [judge(reading(1.0), reading(2.0, NOERROR=5))],
        newest([(7, entry(Kind.REGISTRATION, bytes([192, 0, 2, 1])))], 5),
    )
    shown = io.StringIO()
    Console(file=shown, width=200).print(moment.layout(keys=True))
    text = shown.getvalue()

    assert "5.0 queries a second" in text
    assert "registration 192.0.2.1 put" in text
    assert "it is stopped" in text
    assert "q ends" in text
    assert "\x1b[2J" not in text
    assert ["mirror-1\x1b[2J: it is stopped"] == moment.alarms
