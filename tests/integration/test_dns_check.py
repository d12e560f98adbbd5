"""smtpnic dns-check against real sockets: servers with one fault each, NSD, Knot, our own."""

from __future__ import annotations

import json
import re
from typing import Any

import dns.name
import pytest

from node.endpoint import Endpoint
from secondary.dns import tcp
from secondary.dns.implementation import Implementation
from smtpnic.cli import main
from smtpnic.dns_check import asker, limits
from smtpnic.dns_check.asker import SocketAsker
from smtpnic.dns_check.checklist import run
from smtpnic.dns_check.point import Result, Target, Verdict
from tests.support.limit_faults import LIMIT_FAULTS
from tests.support.model_faults import FAULTS
from tests.support.model_server import REGISTERED, Model, new_model, serving_model
from tests.support.name_servers import FOREIGN_ZONE, knot, nsd, own_server

WITHIN_LIMITS = r"TC to \d+ of 300 queries, whole over TCP"
FAULTY = FAULTS | LIMIT_FAULTS
ALL = ("--registered", str(REGISTERED))


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that stays open is not waited for as long as a mirror's."""
    monkeypatch.setattr(limits, "LONGEST_OPEN_SECONDS", 3.0)
    monkeypatch.setattr(limits, "SLOW_GAP_SECONDS", 0.2)


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs dns-check with --json; gives the exit code and what was printed."""

    def call(server: Endpoint, *options: str, zone: str = "smtpnic.example") -> tuple[int, Any]:
        where = ["dns-check", server.host, "--port", str(server.port), "--zone", zone]
        code = main([*where, "--timeout", "3", *options, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out or captured.err)

    return call


def failed(printed: Any) -> dict[str, str]:
    """Why each failed point did."""
    return {row["point"]: row["why"] for row in printed["points"] if row["result"] == "fail"}


def test_a_server_without_fault_passes_every_point(check: Any) -> None:
    """Nothing fails and everything is asked: each point can be met."""
    with serving_model(new_model()) as server:
        code, printed = check(server, *ALL)
    assert (0, {}) == (code, failed(printed))
    assert 0 == printed["not_applicable"]


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_fails_its_point_alone_and_says_why(check: Any, fault: str) -> None:
    """Whoever runs it is led to the fault, and to nothing else."""
    model = new_model()
    FAULTY[fault].spoil(model)
    with serving_model(model) as server:
        code, printed = check(server, *ALL)
    why = failed(printed)
    assert (1, [FAULTY[fault].point]) == (code, list(why))
    assert FAULTY[fault].words in why[FAULTY[fault].point]


def test_a_server_that_reads_one_query_of_a_segment_is_found(check: Any) -> None:
    """Queries sent at once may come as one segment: none of them is lost."""
    with serving_model(new_model_with(queries_a_segment=1)) as server:
        code, printed = check(server, *ALL)
    assert 1 == code
    assert "expected 8 answers" in failed(printed)["tcp-one-segment"]


def new_model_with(*, queries_a_segment: int) -> Model:
    model = new_model()
    model.queries_a_segment = queries_a_segment
    return model


def test_without_a_registered_address_its_points_are_not_applicable(check: Any) -> None:
    """It says how they can be asked, and is not a failure."""
    with serving_model(new_model()) as server:
        code, printed = check(server)
    reasons = {row["why"] for row in printed["points"] if row["result"] == "not applicable"}
    assert 0 == code
    assert {"give --registered", "see registered"} == reasons


def test_nsd_passes_the_points_they_share(check: Any) -> None:
    """The list asks no more than what good servers do."""
    with nsd() as server:
        code, printed = check(server, "--generic", zone=FOREIGN_ZONE)
    assert (0, {}, 0) == (code, failed(printed), printed["not_applicable"])


def result_of(name: str, server: Endpoint, *, zone: str = "smtpnic.example") -> Result:
    """What comes out of one point about limits."""
    (point,) = (point for point in limits.POINTS if point.name == name)
    (result,) = run(SocketAsker(server, 3.0), Target(dns.name.from_text(zone)), [point])
    return result


@pytest.mark.parametrize("name", ["tcp-idle", "tcp-slow-query"])
def test_what_the_run_has_no_time_for_is_not_blamed_on_the_server(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A connection that was not waited for long enough is not said to have stayed open."""
    monkeypatch.setattr(asker, "RUN_SECONDS", 1.0)
    model = new_model()
    model.idle_seconds = model.query_seconds = 3600
    with serving_model(model) as server:
        result = result_of(name, server)
    assert "came nothing: the 1 s for the whole list are up" in result.why


@pytest.mark.parametrize(
    ("slip", "verdict", "why"),
    [
        (1, Verdict.PASS, WITHIN_LIMITS),
        (2, Verdict.FAIL, r"expected an answer or TC to each of 300 queries; came silence to \d+"),
    ],
)
def test_nsd_beyond_its_limit(slip: int, verdict: Verdict, why: str) -> None:
    """A server of another make that limits answers, with TC for each or for every second one."""
    with nsd(limit=100, slip=slip) as server:
        result = result_of("rate-limit", server, zone=FOREIGN_ZONE)
    assert verdict is result.verdict
    assert re.fullmatch(why, result.why)


def test_knot_passes_the_points_they_share(check: Any) -> None:
    """And not what only one of them does."""
    with knot() as server:
        code, printed = check(server, "--generic", zone=FOREIGN_ZONE)
    assert (0, {}, 0) == (code, failed(printed), printed["not_applicable"])


def told(printed: Any, point: str) -> str:
    """What is said beside one point."""
    return next(str(row["why"]) for row in printed["points"] if row["point"] == point)


def test_what_is_limited_is_told(check: Any) -> None:
    """A limit is no fault where who is beyond it is told to come over TCP; it is described."""
    model = new_model()
    model.answers_in_a_row = 200
    with serving_model(model) as server:
        code, printed = check(server, *ALL)
    assert (0, {}) == (code, failed(printed))
    assert re.fullmatch(WITHIN_LIMITS, told(printed, "rate-limit"))
    assert "300 queries, not limited" == told(printed, "rate-limit-cookie")
    assert "answered on each of 48 connections" == told(printed, "tcp-client-limit")
    assert "closed after 0 s" == told(printed, "tcp-idle")


@pytest.mark.parametrize("implementation", list(Implementation))
def test_our_own_server_passes(
    check: Any, implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator runs against a mirror passes at a mirror, its limits included."""
    monkeypatch.setattr(tcp, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(tcp, "QUERY_SECONDS", 0.5)
    with own_server(implementation) as (server, registered):
        code, printed = check(server, "--registered", registered)
    assert re.fullmatch(WITHIN_LIMITS, told(printed, "rate-limit"))
    assert "300 queries, not limited" == told(printed, "rate-limit-cookie")
    said = f"answered on {tcp.MAX_CONNECTIONS_A_CLIENT} of 48 connections, the others closed"
    assert said == told(printed, "tcp-client-limit")
    unasked = [row["point"] for row in printed["points"] if row["result"] == "not applicable"]
    # No answer of ours is longer than 512 bytes.
    assert (0, {}, ["truncation"]) == (code, failed(printed), unasked)


@pytest.mark.parametrize("is_lost", [False, True])
def test_an_answer_that_a_rate_limit_or_the_network_took_is_asked_again(
    check: Any, *, is_lost: bool
) -> None:
    """A truncated or lost answer is no fault of the server's when the next one is whole."""
    model, kinds = new_model(), []

    def take_the_first(query: bytes, answer: bytes, how: str) -> bytes | None:
        kinds.append(how)
        if kinds != ["udp"]:
            return answer
        return None if is_lost else answer[:2] + bytes([answer[2] | 2]) + answer[3:]

    model.amend_bytes = take_the_first
    with serving_model(model) as server:
        code, printed = check(server, *ALL)
    assert (0, {}) == (code, failed(printed))


def test_where_nothing_answers_the_server_is_unreachable(check: Any) -> None:
    """That is no matter of points: exit code 4, and it says so."""
    with serving_model(new_model()) as server:
        gone = server
    code, printed = check(gone)
    assert 4 == code
    assert f"{gone}: no answer" in printed["error"]["message"]
