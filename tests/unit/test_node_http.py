"""Metrics and health over HTTP: answers, bounds, orderly end."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter

import node.http
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.http import MonitoringServer, Readiness
from node.limits import MAX_MONITORING_REQUESTS
from tests.support.wait import wait_until

LOOPBACK = Endpoint("127.0.0.1", 0)


@contextmanager
def serving(
    readiness: Readiness = lambda: "",
    metrics: CollectorRegistry | None = None,
    endpoint: Endpoint = LOOPBACK,
) -> Iterator[Endpoint]:
    server = MonitoringServer(endpoint, metrics or CollectorRegistry(), readiness)
    server.start()
    try:
        yield server.endpoint
    finally:
        server.close()


def get(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{endpoint}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_shown() -> None:
    """/metrics is the registry in Prometheus' text form."""
    metrics = CollectorRegistry()
    Counter("smtpnic_batches", "Batches applied", registry=metrics).inc(3)

    with serving(metrics=metrics) as endpoint:
        status, text = get(endpoint, "/metrics")

    assert 200 == status
    assert "smtpnic_batches_total 3.0" in text.splitlines()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("", (200, "ok\n")), ("the table is not loaded", (503, "the table is not loaded\n"))],
)
def test_readiness_tells_the_reason(reason: str, expected: tuple[int, str]) -> None:
    """/readyz is 503, and says why, until the process can serve; /livez does not care (P3)."""
    with serving(lambda: reason) as endpoint:
        assert expected == get(endpoint, "/readyz")
        assert (200, "ok\n") == get(endpoint, "/livez")


def test_failing_check_is_not_ready() -> None:
    """A failure is not an answer: whatever the check raises, nothing is sent our way (P3)."""

    def readiness() -> str:
        raise RuntimeError("lock of state")

    with serving(readiness) as endpoint:
        status, text = get(endpoint, "/readyz")

    assert 503 == status
    assert "lock of state" not in text


def test_other_paths_and_methods() -> None:
    """HEAD has no body, an unknown path says what there is, nothing can be sent."""
    with serving() as endpoint:
        assert (200, "") == get(endpoint, "/livez", "HEAD")
        assert (200, "ok\n") == get(endpoint, "/livez?verbose")
        assert (404, "try /metrics, /livez or /readyz\n") == get(endpoint, "/")
        assert 405 == get(endpoint, "/livez", "POST")[0]


def test_ipv6_listener() -> None:
    """IPv6 addresses are listened on as well."""
    with serving(endpoint=Endpoint("::1", 0)) as endpoint:
        assert "::1" == endpoint.host
        assert (200, "ok\n") == get(endpoint, "/livez")


def test_port_in_use_is_a_configuration_error() -> None:
    """The message names the endpoint."""
    with serving() as endpoint, pytest.raises(ConfigurationError, match=str(endpoint.port)):
        MonitoringServer(endpoint, CollectorRegistry(), lambda: "")


def test_close_frees_the_port() -> None:
    """The next process can listen at once, even if this one never began to answer."""
    server = MonitoringServer(LOOPBACK, CollectorRegistry(), lambda: "")
    endpoint = server.endpoint
    server.close()

    with serving(endpoint=endpoint):
        assert 200 == get(endpoint, "/livez")[0]


def test_silent_connections_are_bounded_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that connect and say nothing, or too little, make room after a while."""
    monkeypatch.setattr(node.http, "MONITORING_SECONDS", 0.5)

    with serving() as endpoint, ExitStack() as stack:
        for number in range(MAX_MONITORING_REQUESTS):
            silent = stack.enter_context(socket.create_connection((endpoint.host, endpoint.port)))
            silent.sendall(b"GET / HTTP/1.1\r\n"[:number])

        def answers() -> bool:
            try:
                return get(endpoint, "/livez") == (200, "ok\n")
            except OSError:
                return False

        wait_until(answers, seconds=10, what="room for one more connection")
