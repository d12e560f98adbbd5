"""The members of an etcd cluster, called one at a time.

The etcd3 package (0.12) carries messages that the current protobuf refuses: the generated
modules in `secondary/etcdrpc` take their place before etcd3 is imported. Its connection and
stubs are used as they are; its reading and watching are not, since `get_range` ignores
`limit` and `revision`, and its watcher spins while etcd is away and drops watches that the
server cancels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import grpc
from prometheus_client import Histogram

from node.tls import READ_IN_PLACE
from secondary import etcdrpc
from secondary.etcd.messages import meaning
from secondary.etcd_values import EtcdTls, EtcdUnavailable

sys.modules["etcd3.etcdrpc"] = etcdrpc

from etcd3 import Etcd3Client  # noqa: E402 - after its messages were replaced

# A page of the largest records, or the events of one revision, fit (gRPC's default is 4 MiB).
MAX_RECEIVE_BYTES = 64 << 20
CALL_SECONDS = 5.0
# From a read of a local member to what a caller waits at most.
CALL_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, CALL_SECONDS)
# Bulk calls queue behind each other in etcd, and a compaction may hold them up.
BULK_SECONDS = 60.0
# For a connection, until etcd's first frame: a busy machine needs more than a moment.
CONNECT_SECONDS = 2.0
# etcd closes connections that ping more often than every 5 s (--grpc-keepalive-min-time).
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # By its name a pause, to gRPC the time that an attempt has (`min_connect_timeout`).
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    READ_IN_PLACE,
)


class Pending(NamedTuple):
    """A call under way, and the member it went to."""

    member: int
    future: Any


class EtcdMembers:
    """Clients of one cluster's members; any thread may call. When one is away the next is used."""

    def __init__(self, endpoints: Sequence[str], tls: EtcdTls | None, call_seconds: float) -> None:
        """Prepare; nothing is sent yet."""
        if not endpoints:
            raise ValueError("at least one endpoint is needed")
        self._clients = [_client(endpoint, tls, call_seconds) for endpoint in endpoints]
        self._chosen = 0
        self._call_seconds = call_seconds
        self.times = Histogram(
            "smtpnic_etcd_seconds",
            "Time until etcd answered or failed, by its operation.",
            ["operation"],
            registry=None,
            buckets=CALL_BUCKETS,
        )

    def close(self) -> None:
        """End every call and connection."""
        for client in self._clients:
            client.close()

    def chosen(self) -> tuple[int, Any]:
        """The member in use, for `fail`, and its etcd3 client."""
        index = self._chosen
        return index, self._clients[index]

    def call(self, stub: str, method: str, request: object) -> Any:
        """What the member in use answers; EtcdError."""
        # A future would cost a thread, which is more than the rest of the call.
        index, client = self.chosen()
        began = time.monotonic()
        try:
            call = getattr(getattr(client, stub), method)
            return call(request, timeout=self._call_seconds)
        except grpc.RpcError as error:
            self.fail(index, error)
        finally:
            self.times.labels(method).observe(time.monotonic() - began)

    def begin(self, stub: str, method: str, request: object) -> Pending:
        """A bulk call, which may take its time, one of several at once."""
        index, client = self.chosen()
        call = getattr(getattr(client, stub), method)
        return Pending(index, call.future(request, timeout=BULK_SECONDS))

    def finish(self, pending: Pending) -> Any:
        """What it was answered; EtcdError."""
        try:
            return pending.future.result()
        except grpc.RpcError as error:
            self.fail(pending.member, error)

    def keep_lease(self, request: etcdrpc.LeaseKeepAliveRequest) -> etcdrpc.LeaseKeepAliveResponse:
        """One exchange of the stream that keeps leases; EtcdError."""
        index, client = self.chosen()
        try:
            stream = client.leasestub.LeaseKeepAlive(iter([request]), timeout=self._call_seconds)
            answer: etcdrpc.LeaseKeepAliveResponse = next(stream)
        except grpc.RpcError as error:
            self.fail(index, error)
        return answer

    def fail(self, index: int, error: grpc.RpcError) -> NoReturn:
        """Raise what a gRPC error of the member `index` means; choose another if it is away."""
        known = meaning(error)
        if isinstance(known, EtcdUnavailable) and self._chosen == index:
            self._chosen = (index + 1) % len(self._clients)
        raise known from error


def _client(endpoint: str, tls: EtcdTls | None, seconds: float) -> Any:
    """An etcd3 client for `endpoint`, and with it a channel and stubs."""
    host, _, port = endpoint.rpartition(":")
    if not host or not port:
        raise ValueError(f"etcd endpoint {endpoint!r}: write host:port, or unix:/path")
    files = {"ca_cert": tls.ca, "cert_key": tls.key, "cert_cert": tls.certificate} if tls else {}
    return Etcd3Client(
        host,
        port,
        timeout=seconds,
        grpc_options=CHANNEL_OPTIONS,
        **{name: str(path) for name, path in files.items() if path is not None},
    )
