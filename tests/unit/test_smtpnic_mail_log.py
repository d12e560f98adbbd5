"""receiver report: what the logs of Postfix, Exim and sendmail say of who was accepted."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.finding import Finding
from registry.address import Address
from smtpnic.receiving.log_files import read_lines
from smtpnic.receiving.mail_log import LogReader, syslog_time
from smtpnic.receiving.report import Row, Tally, plot, summary, tally

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def read(*lines: str) -> list[tuple[str, bool]]:
    return [
        (str(found.address), found.is_authenticated) for found in LogReader(NOW).deliveries(lines)
    ]


def test_postfix() -> None:
    """A client is told when a message gets its queue identifier; connections alone are none."""
    assert [("11.0.0.1", False), ("11.0.0.2", True), ("2a00::1", False)] == read(
        "Nov 25 02:04:23 mx postfix/smtpd[7]: connect from mail.example.org[11.0.0.1]",
        "Nov 25 02:04:23 mx postfix/smtpd[7]: 4XyZ12abc: client=mail.example.org[11.0.0.1]",
        "2026-11-25T02:04:24.1+00:00 mx postfix/submission/smtpd[7]: 0123ABC: "
        "client=unknown[11.0.0.2], sasl_method=PLAIN, sasl_username=user",
        "Nov 25 02:04:25 mx postfix/smtpd[7]: 4XyZ12abd: client=unknown[2a00::1]",
        "Nov 25 02:04:25 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from x[11.0.0.9]: 550",
        "Nov 25 02:04:25 mx postfix/cleanup[7]: 4XyZ12abc: message-id=<client=x[11.0.0.8]>",
    )


def test_exim() -> None:
    """`<=` is an arrival; A= says that its client had authenticated."""
    assert [("11.0.0.1", False), ("11.0.0.2", True), ("2a00::1", False)] == read(
        "2026-11-25 02:04:23 1u0abc-0001aB-2C <= a@b.example H=mail.b.example [11.0.0.1] "
        "P=esmtp S=500 id=x@b.example",
        "2026-11-25 02:04:23 +0100 [77] 1u0abc-0001aB-2D <= a@b.example H=(laptop) [11.0.0.2] "
        "P=esmtpsa A=plain_server:user S=500",
        "2026-11-25 02:04:23.123 1u0abc-0001aB-2E <= a@b.example H=([10.0.0.5]) [2a00::1] P=smtp",
        "2026-11-25 02:04:23 1u0abc-0001aB-2F => c <c@mx> R=local T=mail",
        "2026-11-25 02:04:23 1u0abc-0001aB-2F <= <> R=1u0abc-0001aB-2E U=Debian-exim P=local",
    )


@pytest.mark.parametrize(
    "sender",
    [
        '"x H=[192.0.2.1]"@evil.example',
        '"x H=mail.b.example [192.0.2.1] P=esmtp"@evil.example',
        r'"x\" H=[192.0.2.1] A=plain:x \\"@evil.example',
        'x."y H=(z) [192.0.2.1]"@evil.example',
    ],
)
def test_a_sender_names_no_other_client_to_exim(sender: str) -> None:
    """Nor do a certificate or a message's identifier make a client one that had authenticated."""
    line = (
        f"2026-11-25 02:04:23 1u0abc-0001aB-2C <= {sender} H=mail.b.example (b) [11.0.0.1]:25 "
        'P=esmtps X=TLS1.3 CV=no DN="CN=x A=plain:user" S=500 id=x A=plain:user@b.example'
    )
    assert [("11.0.0.1", False)] == read(line)


@pytest.mark.parametrize(
    "fields",
    [
        "R=1u0abc-0001aB-2E H=b [11.0.0.1]",
        "DS H=b [11.0.0.1]",
        "H=[11.0.0.1]",
        "H=([IPv6:2a00::1]) [11.0.0.1]",
        "H=b.example (two words) [11.0.0.1]:4321 I=[11.0.0.9]:25",
    ],
)
def test_ways_in_which_exim_names_a_client(fields: str) -> None:
    """With or without its name, its HELO, its port; a bounce has an empty sender."""
    line = f"2026-11-25 02:04:23 1u0abc-0001aB-2C <= <> {fields} P=esmtp S=500"
    assert [("11.0.0.1", False)] == read(line)


def test_exim_through_syslog() -> None:
    """`log_file_path = syslog`: with its own time, or with that of syslog alone."""
    arrival = "1u0abc-0001aB-2C <= a@b.example H=mail.b.example [11.0.0.1] P=esmtp S=500"
    assert [("11.0.0.1", False)] * 3 == read(
        f"Nov 25 02:04:23 mx exim[7]: 2026-11-25 02:04:23 {arrival}",
        f"2026-11-25T02:04:24.1+0000 mx exim4[7]: [7] {arrival}",
        f"Nov 25 02:04:23 mx exim[7]: {arrival}",
        # In a file there is always a time, and others are no Exim.
        arrival,
        f"Nov 25 02:04:23 mx stranger[7]: 2026-11-25 02:04:23 {arrival}",
    )


def test_sendmail() -> None:
    """A line of its own says that the client of an identifier had authenticated."""
    assert [("11.0.0.1", False), ("11.0.0.2", True), ("2a00::1", False)] == read(
        "Nov 25 02:04:23 mx sm-mta[5]: 6AP001: from=<a@b.example>, size=11, class=0, nrcpts=1, "
        "msgid=<x>, proto=ESMTP, daemon=MTA-v4, relay=mail.b.example [11.0.0.1]",
        "Nov 25 02:04:23 mx sm-mta[5]: 6AP002: AUTH=server, relay=[11.0.0.2], authid=user, "
        "mech=PLAIN, bits=0",
        "Nov 25 02:04:23 mx sm-mta[5]: 6AP002: from=<a@b.example>, size=11, class=0, nrcpts=2, "
        "proto=ESMTP, daemon=MTA-v4, relay=[11.0.0.2]",
        "Nov 25 02:04:23 mx sm-mta[5]: 6AP003: from=<a@b.example>, size=0, class=0, nrcpts=0, "
        "proto=ESMTP, daemon=MTA-v4, relay=[11.0.0.9]",
        "Nov 25 02:04:23 mx sm-mta[5]: 6AP004: from=<a@b.example>, size=11, class=0, nrcpts=1, "
        "proto=ESMTP, daemon=MTA-v6, relay=[IPv6:2a00:0:0:0:0:0:0:1]",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nov 25 02:04:23", 2026),
        # A day that is to come was one of last year.
        ("Dec 24 02:04:23", 2025),
        ("Feb 29 02:04:23", None),
        ("2026-11-25T02:04:23.5+01:00", 2026),
        ("2026-13-25T02:04:23Z", None),
    ],
)
def test_times_without_a_year(text: str, expected: int | None) -> None:
    """The latest year in which the time is not ahead."""
    found = syslog_time(text, NOW)
    assert expected == (None if found is None else found.year)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)],
)
def test_rotated_files_are_read_as_they_are(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Plain or compressed; how far it is read is told in bytes of the file."""
    path = tmp_path / f"mail.log.1{suffix}"
    path.write_bytes(pack(b"one\ntwo\xff\nthree"))
    read_bytes: list[int] = []
    assert ["one", "two\ufffd", "three"] == list(read_lines(path, read_bytes.append))
    assert path.stat().st_size == sum(read_bytes)


@pytest.mark.parametrize("name", ["absent.log", "broken.gz"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    """Not skipped: the report would be wrong."""
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"no gzip")
    with pytest.raises(ConfigurationError, match=name):
        list(read_lines(tmp_path / name, lambda _: None))


def test_what_counts() -> None:
    """Within the days, from addresses that can be registered; who authenticated, apart."""
    lines = [
        "Nov 25 02:04:23 mx postfix/smtpd[7]: A1: client=x[11.0.0.1]",
        "Nov 25 03:04:23 mx postfix/smtpd[7]: A2: client=x[11.0.0.1], sasl_username=user",
        "Nov  1 02:04:23 mx postfix/smtpd[7]: A3: client=x[11.0.0.1]",
        "Nov 25 02:04:23 mx postfix/smtpd[7]: A4: client=localhost[127.0.0.1]",
        "Nov 25 02:04:23 mx postfix/smtpd[7]: A5: client=x[10.1.2.3]",
    ]
    found = tally(LogReader(NOW).deliveries(lines), NOW - timedelta(days=7))
    assert [Address.parse("11.0.0.1")] == list(found)
    entry = found[Address.parse("11.0.0.1")]
    assert (2, 1, 1) == (entry.messages, entry.authenticated, entry.unauthenticated)


def row(address: str, messages: int, authenticated: int, finding: Finding | None) -> Row:
    by_day = {NOW.date(): messages - authenticated}
    return Row(Address.parse(address), Tally(messages, authenticated, by_day), finding)


def test_the_summary_says_what_enforcement_would_do() -> None:
    """Refused are messages of the unregistered that had not authenticated, and no others."""
    rows = [
        row("11.0.0.1", 10, 4, Finding.NOT_REGISTERED),
        row("11.0.0.2", 5, 0, Finding.REGISTERED),
        row("11.0.0.3", 3, 3, None),
        row("11.0.0.4", 2, 0, Finding.FAILURE),
    ]
    assert {
        "messages": 20,
        "addresses": 4,
        "authenticated_messages": 7,
        "refused_messages": 6,
        "refused_addresses": 1,
        "unknown_messages": 2,
    } == summary(rows)
    lines = plot(rows, 3, NOW.date())
    assert ["2026-11-23  0", "2026-11-24  0"] == lines[:2]
    assert lines[2].startswith("2026-11-25  6  ███")
    assert [] == plot(rows[1:], 3, NOW.date())
