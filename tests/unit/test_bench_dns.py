"""What the benchmark of DNS asks, what it expects, and what it makes of the figures."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest

from bench.dns import numbers
from bench.dns_generators import Load, parse_dnsload, parse_dnsperf
from bench.dns_measuring import Figures, Round, summary
from bench.dns_names import (
    ORIGIN,
    Names,
    dashed,
    dotted,
    host,
    make_names,
    packed,
    read_names,
    write_names,
)
from bench.dns_peers import dnset_lines, zone_lines
from bench.dns_queries import HOSTILE, USUAL, Asked, make_queries, write_queries
from bench.dns_report import mb_a_million_names, ratios
from bench.processes import cpu_seconds, session_pids, shared_rss_mb

_LOAD = Load(answered=90, per_second=100.0, lost=0, wrong=0, latency_us=10.0, p99_us=20.0)
_FIGURES = Figures(
    qps=100.0,
    cpu_us=5.0,
    lost=0,
    wrong=0,
    latency_us=10.0,
    latency_p99_us=20.0,
    rss_mb=30.0,
    load_s=1.0,
)


@pytest.fixture(scope="module")
def names() -> Names:
    """A few hundred."""
    return make_names(300)


def test_names_are_the_same_for_one_seed(names: Names) -> None:
    """Each once, in order, none of them unregistered too."""
    assert names == make_names(300)
    assert names != make_names(300, seed=1)
    assert sorted(set(names.listed)) == names.listed
    assert not set(names.listed) & set(names.unlisted)
    assert (300, 300) == (len(names.listed), len(names.unlisted))


def test_an_address_is_written_in_every_way() -> None:
    """As a label, with dots, and in four bytes."""
    number = 0xC0000224
    assert "192-0-2-36" == dashed(number)
    assert "192.0.2.36" == dotted(number)
    assert bytes((192, 0, 2, 36)) == packed(number)


def test_hosts_have_one_length_each() -> None:
    """So that answers of one load are of one size."""
    assert "mx-c0000224.mail.example.org" == host(0xC0000224, long=False)
    assert {71} == {len(host(number, long=True)) for number in (1, 0xC0000224)}


def test_names_are_read_as_they_were_written(names: Names, tmp_path: Path) -> None:
    """Packed, in order."""
    path = tmp_path / "names"
    write_names(path, names.listed)
    assert [packed(number) for number in names.listed] == list(read_names(path))


def test_the_zone_file_has_every_name(names: Names) -> None:
    """With its address, and with the text where that is wanted."""
    text = "".join(zone_lines(names.listed, with_text=True))
    zone = dns.zone.from_text(text, ORIGIN)
    for number in names.listed:
        (address,) = zone.find_rdataset(dashed(number), "A")
        (txt,) = zone.find_rdataset(dashed(number), "TXT")
        assert dotted(number) == str(address)
        assert host(number, long=True) in str(txt)
    assert "TXT" not in "".join(zone_lines(names.listed, with_text=False))


def test_the_data_of_rbldnsd_has_every_name(names: Names) -> None:
    """One a line after what is said of all."""
    lines = "".join(dnset_lines(names.listed)).splitlines()
    assert [dashed(number) for number in names.listed] == lines[-300:]


def test_the_usual_mix_asks_mostly_for_what_is_registered(names: Names) -> None:
    """Four fifths; what is expected fits the name."""
    labels = {dashed(number) for number in names.listed}
    registered = 0
    for asked in make_queries(USUAL, names, 1000):
        question, expected = _question(asked), asked.expected
        assert expected is not None
        is_registered = question.name.labels[0].decode() in labels
        registered += is_registered
        rcode = dns.rcode.NOERROR if is_registered else dns.rcode.NXDOMAIN
        assert (int(rcode), int(is_registered)) == (expected.rcode, expected.answers)
    assert 760 < registered < 840


@pytest.mark.parametrize("mix", [mix for mix in HOSTILE if mix != "malformed"])
def test_a_hostile_mix_is_of_true_queries(mix: str, names: Names) -> None:
    """Each can be read, and one answer alone is right."""
    for asked in make_queries(mix, names, 100):
        assert asked.expected is not None
        assert _question(asked).rdtype not in (dns.rdatatype.OPT, dns.rdatatype.ANY)
        assert 0 == dns.message.from_wire(asked.wire).id


def test_the_aaaa_mix_asks_for_nothing_else(names: Names) -> None:
    """Nothing is there: the names are of IPv4 addresses."""
    for asked in make_queries("all_aaaa", names, 100):
        assert dns.rdatatype.AAAA == _question(asked).rdtype
        assert asked.expected is not None
        assert 0 == asked.expected.answers


def test_a_tenth_of_the_malformed_mix_is(names: Names) -> None:
    """To those any answer is right."""
    asked = list(make_queries("malformed", names, 2000))
    assert 140 < sum(one.expected is None for one in asked) < 260
    assert all(2 <= len(one.wire) <= 512 for one in asked)


def test_queries_are_written_as_dnsload_reads_them(names: Names, tmp_path: Path) -> None:
    """Length, what is expected, the query; one after another."""
    path = tmp_path / "queries"
    (asked,) = make_queries("out_of_zone", names, 1)
    write_queries(path, [asked, Asked(b"ab", None)])
    refused, unchecked = bytes((5, 0, 0)), bytes((0, 0, 1))
    expected = len(asked.wire).to_bytes(2) + refused + asked.wire + b"\0\2" + unchecked + b"ab"
    assert expected == path.read_bytes()


def test_the_output_of_dnsload_is_read() -> None:
    """Answers, rate, losses, times."""
    text = (
        '{"seconds": 1.000, "qps": 100.0, "sent": 95, "answered": 90, "wrong": 0, "lost": 0, '
        '"late": 0, "unchecked_sent": 0, "unchecked_answered": 0, "p50_us": 10.00, '
        '"p99_us": 20.00, "max_us": 30.00, "first_wrong": ""}\n'
    )
    assert _LOAD == parse_dnsload(text)


def test_the_output_of_dnsperf_is_read() -> None:
    """It tells no percentiles; latencies are in seconds there."""
    text = """Statistics:

  Queries sent:         90
  Queries completed:    90 (100.00%)
  Queries lost:         0 (0.00%)
  Run time (s):         0.900000
  Queries per second:   100.000000

  Average Latency (s):  0.000010 (min 0.000005, max 0.000100)
"""
    assert replace(_LOAD, p99_us=None) == parse_dnsperf(text)
    with pytest.raises(ValueError, match="Queries per second"):
        parse_dnsperf(text.replace("per second", "a second"))


def test_figures_are_medians_of_the_rounds() -> None:
    """An outlier does not count; whatever is lost does."""
    slow = replace(_LOAD, per_second=1.0, lost=3, latency_us=1e6, p99_us=1e6)
    rounds = [Round(slow, 900.0), Round(_LOAD, 5.0), Round(_LOAD, 5.0)]
    assert replace(_FIGURES, lost=3) == summary(rounds, rss_mb=30.0, load_s=1.0)


def test_a_load_without_percentiles_has_none() -> None:
    """As that of dnsperf."""
    rounds = [Round(replace(_LOAD, p99_us=None), 5.0)]
    assert summary(rounds, rss_mb=30.0, load_s=1.0).latency_p99_us is None


def test_how_busy_a_server_was() -> None:
    """100,000 queries of 5 microseconds are half a second."""
    assert 50.0 == replace(_FIGURES, qps=100_000.0).busy_percent


def test_ratios_are_of_ours_to_the_rivals() -> None:
    """More queries are above 1, less CPU below."""
    measured = {"smtpnic-pure": replace(_FIGURES, qps=250.0, cpu_us=2.0), "nsd": _FIGURES}
    assert {"smtpnic-pure": {"nsd": {"qps": 2.5, "cpu_us": 0.4}}} == ratios(measured)


def test_memory_of_a_million_names_is_what_they_add() -> None:
    """What a server has without any does not count; one size tells nothing."""
    few, many = {"nsd": _FIGURES}, {"nsd": replace(_FIGURES, rss_mb=57.0), "knot": _FIGURES}
    assert {"nsd": 300.0} == mb_a_million_names({10_000: few, 100_000: many})
    assert {} == mb_a_million_names({10_000: few})


def test_sizes_are_given_with_commas() -> None:
    """Or not at all."""
    assert (10_000, 100_000) == numbers("10000,100000")
    assert () == numbers("")


def test_what_a_process_takes() -> None:
    """CPU time of all threads, in less than a tick; memory."""
    pid = os.getpid()
    before = time.process_time()
    mine = cpu_seconds(pid)
    assert before <= mine <= time.process_time()
    assert pid in session_pids(os.getsid(0))
    assert shared_rss_mb([pid]) > 1


def _question(asked: Asked) -> dns.rrset.RRset:
    (question,) = dns.message.from_wire(asked.wire).question
    return question
