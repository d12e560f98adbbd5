"""smtpnic dns-check against real sockets: servers with one fault each, NSD, Knot, our own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.endpoint import Endpoint
from smtpnic.cli import main
from tests.support.model_faults import FAULTS
from tests.support.model_server import REGISTERED, Model, new_model, serving_model
from tests.support.name_servers import FOREIGN_ZONE, knot, nsd, own_server

ALL = ("--registered", str(REGISTERED))


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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_point_alone_and_says_why(check: Any, fault: str) -> None:
    """Whoever runs it is led to the fault, and to nothing else."""
    model = new_model()
    FAULTS[fault].spoil(model)
    with serving_model(model) as server:
        code, printed = check(server, *ALL)
    why = failed(printed)
    assert (1, [FAULTS[fault].point]) == (code, list(why))
    assert FAULTS[fault].words in why[FAULTS[fault].point]


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


def test_knot_passes_the_points_they_share(check: Any) -> None:
    """And not what only one of them does."""
    with knot() as server:
        code, printed = check(server, "--generic", zone=FOREIGN_ZONE)
    assert (0, {}, 0) == (code, failed(printed), printed["not_applicable"])


def test_our_own_server_passes(check: Any) -> None:
    """What an operator runs against a mirror passes at a mirror."""
    with own_server() as (server, registered):
        code, printed = check(server, "--registered", registered)
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
