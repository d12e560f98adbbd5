"""Health by gRPC's own protocol says what /readyz says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.grpc_health import HealthServer
from node.http import Readiness
from node.monitoring import Monitoring, new_metrics

LOOPBACK = Endpoint("127.0.0.1", 0)
STATES = health_pb2.HealthCheckResponse


@contextmanager
def asking(readiness: Readiness) -> Iterator[health_pb2_grpc.HealthStub]:
    server = HealthServer(LOOPBACK, readiness)
    server.start()
    with closing(server), grpc.insecure_channel(str(server.endpoint)) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def check(stub: health_pb2_grpc.HealthStub, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = stub.Check(request, timeout=10).status
    return status


def test_serving_means_ready() -> None:
    """It is asked at every check, so it changes with what it is."""
    reasons = [""]
    with asking(lambda: reasons[0]) as stub:
        assert STATES.SERVING == check(stub)
        reasons[0] = "the register is not loaded yet"
        assert STATES.NOT_SERVING == check(stub)


def test_a_service_that_is_not_here_is_not_found() -> None:
    """As the protocol asks."""
    with asking(lambda: "") as stub, pytest.raises(grpc.RpcError) as caught:
        check(stub, "smtpnic.v1.Other")

    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


def test_a_port_that_is_taken_is_told_and_nothing_stays_open() -> None:
    """Neither of the two listens when one cannot."""
    taken = HealthServer(LOOPBACK, lambda: "")
    with closing(taken):
        probe = Monitoring(LOOPBACK, None, CollectorRegistry(), lambda: "")
        http = probe.endpoint
        probe.close()
        with pytest.raises(ConfigurationError, match=f"cannot listen on {taken.endpoint}"):
            Monitoring(http, taken.endpoint, CollectorRegistry(), lambda: "")
        Monitoring(http, None, CollectorRegistry(), lambda: "").close()


def test_every_process_shows_what_it_is() -> None:
    """Its role and its version, and what it takes of the machine."""
    metrics = new_metrics("dns")
    found = {
        sample.name: sample.labels for family in metrics.collect() for sample in family.samples
    }

    assert "dns" == found["smtpnic_build_info"]["role"]
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= set(found)
