"""An etcd cluster as a store of keys that can be fenced, paged and watched.

The etcd3 package (0.12) carries messages that the current protobuf refuses: the generated
modules in `secondary/etcdrpc` take their place before etcd3 is imported. Its connection and
stubs are used as they are; its reading and watching are not, since `get_range` ignores
`limit` and `revision`, and its watcher spins while etcd is away and drops watches that the
server cancels.

Nothing here tries again by itself: EtcdUnavailable is raised at once, so that the caller can
say so, wait as it sees fit, and go on. An EtcdStore may be used by many threads at once.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import grpc

from node.tls import READ_IN_PLACE
from secondary import etcdrpc
from secondary.etcd.messages import check_watch, meaning, revision_of, transaction
from secondary.etcd_values import (
    Comparison,
    EtcdStatus,
    EtcdTls,
    EtcdUnavailable,
    Event,
    FenceLost,
    Put,
    Reading,
    Revision,
)
from secondary.key_ranges import RangeWalk, prefix_end

sys.modules["etcd3.etcdrpc"] = etcdrpc

from etcd3 import Etcd3Client  # noqa: E402 - after its messages were replaced

# A page of the largest records, or the events of one revision, fit (gRPC's default is 4 MiB).
MAX_RECEIVE_BYTES = 64 << 20
# etcd's defaults: --max-txn-ops 128 and --max-request-bytes 1.5 MiB, less some framing.
MAX_TXN_OPERATIONS = 128
MAX_TXN_BYTES = 1_500_000
PAGE_KEYS = 5_000
# Bulk: the largest transactions, some under way at once, keep etcd busy.
BULK_OPERATIONS = MAX_TXN_OPERATIONS
BULK_BYTES = 1 << 20
BULK_OUTSTANDING = 8
CALL_SECONDS = 5.0
# Bulk calls queue behind each other in etcd, and a compaction may hold them up.
BULK_SECONDS = 60.0
# etcd closes connections that ping more often than every 5 s (--grpc-keepalive-min-time).
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    READ_IN_PLACE,
)
_WATCH_METHOD = "/etcdserverpb.Watch/Watch"


class EtcdStore:
    """Typed access to one etcd cluster, through one member at a time."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: EtcdTls | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Prepare; nothing is sent yet.

        Endpoints are `host:port`, or `unix:/path`. When one fails the next is used.
        """
        if not endpoints:
            raise ValueError("at least one endpoint is needed")
        self._clients = [_client(endpoint, tls, call_seconds) for endpoint in endpoints]
        self._chosen = 0
        self._call_seconds = call_seconds

    def close(self) -> None:
        """End every call and connection."""
        for client in self._clients:
            client.close()

    def get(self, key: bytes, revision: int = 0) -> Reading:
        """The value of `key` at `revision`, or the newest (0), read from a quorum."""
        request = etcdrpc.RangeRequest(key=key, revision=revision)
        response: etcdrpc.RangeResponse = self._call("kvstub", "Range", request)
        if not response.kvs:
            return Reading(response.header.revision, None, 0)
        found = response.kvs[0]
        return Reading(response.header.revision, found.value, found.mod_revision)

    def first_key(self, start: bytes, end: bytes) -> bytes | None:
        """The first key in [start, end); None if there is none."""
        request = etcdrpc.RangeRequest(key=start, range_end=end, limit=1, keys_only=True)
        response: etcdrpc.RangeResponse = self._call("kvstub", "Range", request)
        return response.kvs[0].key if response.kvs else None

    def range_pages(
        self, prefix: bytes, revision: int = 0, page: int = PAGE_KEYS
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """Every key and value under `prefix` at one revision (0: the newest), in order, in pages.

        While the caller works on a page, the next one is under way.
        """
        if revision == 0:
            revision = self.get(prefix).revision
        for response in self._pages(prefix, revision, page, keys_only=False):
            yield [(kv.key, kv.value) for kv in response.kvs]

    def keys(self, prefix: bytes, page: int = PAGE_KEYS) -> Iterator[list[bytes]]:
        """The keys under `prefix`, in order, a page at a time; the pages may differ in time."""
        for response in self._pages(prefix, 0, page, keys_only=True):
            yield [kv.key for kv in response.kvs]

    def _pages(
        self, prefix: bytes, revision: int, page: int, *, keys_only: bool
    ) -> Iterator[etcdrpc.RangeResponse]:
        walk = RangeWalk(prefix, prefix_end(prefix), page)
        last: etcdrpc.RangeResponse | None = None
        while walk.piece is not None:
            request = etcdrpc.RangeRequest(
                key=walk.piece.start,
                range_end=walk.piece.end,
                limit=page,
                revision=revision,
                keys_only=keys_only,
            )
            pending = self._begin("kvstub", "Range", request, BULK_SECONDS)
            if last is not None and last.kvs:
                yield last
            last = self._finish(pending)
            final = last.kvs[-1].key if last.kvs else b""
            walk.saw(final, len(last.kvs), last.more)
        if last is not None and last.kvs:
            yield last

    def txn(
        self,
        comparisons: Sequence[Comparison],
        puts: Iterable[Put] = (),
        deletes: Iterable[bytes] = (),
        lease: int = 0,
    ) -> int:
        """Change all of it at one revision, which is returned; puts are bound to `lease`.

        FenceLost if a comparison does not hold. EtcdUnavailable leaves open whether it
        happened: read a key that it writes to find out.
        """
        request = transaction(comparisons, puts, deletes, lease)
        return revision_of(self._call("kvstub", "Txn", request))

    def put_all(self, puts: Iterable[Put], comparisons: Sequence[Comparison] = ()) -> int:
        """Put many keys, in transactions of about a hundred, each guarded by `comparisons`.

        Returns how many. On an error, what was put before stays.
        """
        pending: deque[_Pending] = deque()
        total = 0
        try:
            for chunk in _chunks(puts):
                total += len(chunk)
                request = transaction(comparisons, chunk, (), 0)
                pending.append(self._begin("kvstub", "Txn", request, BULK_SECONDS))
                if len(pending) >= BULK_OUTSTANDING:
                    revision_of(self._finish(pending.popleft()))
            while pending:
                revision_of(self._finish(pending.popleft()))
        finally:
            for call in pending:
                call.future.cancel()
        return total

    def delete_prefix(
        self, prefix: bytes, comparisons: Sequence[Comparison] = (), step: int = 1_000
    ) -> Iterator[int]:
        """Delete every key under `prefix`, yielding how many after each transaction.

        In steps, so that etcd and its watchers can do other work in between.
        """
        for keys in self.keys(prefix, step):
            request = transaction(comparisons, (), (), 0)
            piece = request.success.add().request_delete_range
            piece.key, piece.range_end = keys[0], keys[-1] + b"\0"
            revision_of(self._call("kvstub", "Txn", request))
            yield len(keys)

    def watch(self, prefix: bytes, from_revision: int) -> Watch:
        """Every change under `prefix` from `from_revision` on: `with store.watch(...) as w`."""
        index = self._chosen
        return Watch(self, index, self._clients[index], prefix, from_revision)

    def grant_lease(self, seconds: int) -> int:
        """A lease: the keys bound to it vanish unless it is kept every `seconds`."""
        request = etcdrpc.LeaseGrantRequest(TTL=seconds)
        response: etcdrpc.LeaseGrantResponse = self._call("leasestub", "LeaseGrant", request)
        return response.ID

    def keep_lease(self, lease: int) -> None:
        """Start the lease's time anew; FenceLost if it has ended."""
        requests = iter([etcdrpc.LeaseKeepAliveRequest(ID=lease)])
        index = self._chosen
        try:
            stub = self._clients[index].leasestub
            response = next(stub.LeaseKeepAlive(requests, timeout=self._call_seconds))
        except grpc.RpcError as error:
            self._fail(index, error)
        if response.TTL <= 0:
            raise FenceLost("the lease has ended")

    def revoke_lease(self, lease: int) -> None:
        """End the lease and delete the keys bound to it."""
        self._call("leasestub", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=lease))

    def status(self) -> EtcdStatus:
        """What the member in use says of itself."""
        found: etcdrpc.StatusResponse
        found = self._call("maintenancestub", "Status", etcdrpc.StatusRequest())
        request = etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.GET)
        raised: etcdrpc.AlarmResponse = self._call("maintenancestub", "Alarm", request)
        return EtcdStatus(
            version=found.version,
            revision=found.header.revision,
            cluster_id=found.header.cluster_id,
            db_bytes=found.dbSize,
            db_bytes_in_use=found.dbSizeInUse,
            has_leader=found.leader != 0,
            alarms=tuple(etcdrpc.AlarmType.Name(member.alarm) for member in raised.alarms),
        )

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`."""
        self._call("kvstub", "Compact", etcdrpc.CompactionRequest(revision=revision))

    def probe_limits(self, key: bytes, operations: int, size: int) -> None:
        """EtcdRefused unless a transaction of so many operations and bytes is taken.

        Nothing is changed: its comparison never holds.
        """
        never = etcdrpc.Compare(target=etcdrpc.Compare.VERSION, key=key, version=-1)
        value = bytes(size // operations)
        puts = ((key + b"/%d" % number, value) for number in range(operations))
        request = transaction((), puts, (), 0)
        request.compare.append(never)
        self._call("kvstub", "Txn", request)

    def _call(self, stub: str, method: str, request: object) -> Any:
        # A future would cost a thread, which is more than the rest of the call.
        index = self._chosen
        try:
            call = getattr(getattr(self._clients[index], stub), method)
            return call(request, timeout=self._call_seconds)
        except grpc.RpcError as error:
            self._fail(index, error)

    def _begin(self, stub: str, method: str, request: object, seconds: float) -> _Pending:
        index = self._chosen
        call = getattr(getattr(self._clients[index], stub), method)
        return _Pending(index, call.future(request, timeout=seconds))

    def _finish(self, pending: _Pending) -> Any:
        try:
            return pending.future.result()
        except grpc.RpcError as error:
            self._fail(pending.member, error)

    def _fail(self, index: int, error: grpc.RpcError) -> NoReturn:
        """Raise what a gRPC error of the member `index` means; choose another if it is away."""
        known = meaning(error)
        if isinstance(known, EtcdUnavailable) and self._chosen == index:
            self._chosen = (index + 1) % len(self._clients)
        raise known from error


class Watch:
    """One watch stream: iterate for the revisions; `cancel` from any thread ends it.

    Iteration raises EtcdUnavailable when the stream breaks (watch again from the revision
    after the last one seen) and EtcdCompacted when revisions have been lost (load again).
    """

    def __init__(
        self, store: EtcdStore, index: int, client: Any, prefix: bytes, from_revision: int
    ) -> None:
        self._store = store
        self._index = index
        self._is_cancelled = False
        create = etcdrpc.WatchCreateRequest(
            key=prefix,
            range_end=prefix_end(prefix),
            start_revision=from_revision,
            progress_notify=True,
            fragment=True,
        )
        # One request and nothing after it, as etcd's own HTTP gateway watches: gRPC needs a thread
        # to send more, and another to receive beside it.
        watch = client.channel.unary_stream(
            _WATCH_METHOD,
            request_serializer=etcdrpc.WatchRequest.SerializeToString,
            response_deserializer=etcdrpc.WatchResponse.FromString,
        )
        # Without a leader the stream would stay silent; so it is ended instead.
        request = etcdrpc.WatchRequest(create_request=create)
        self._call = watch(request, metadata=(("hasleader", "true"),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """End the iteration, from whatever thread it runs in."""
        self._is_cancelled = True
        self._call.cancel()

    def __iter__(self) -> Iterator[Revision]:
        number, events = 0, list[Event]()
        try:
            for response in self._call:
                check_watch(response)
                for event in response.events:
                    if event.kv.mod_revision != number and events:
                        yield Revision(number, tuple(events))
                        events = []
                    number = event.kv.mod_revision
                    gone = event.type == etcdrpc.Event.DELETE
                    events.append(Event(event.kv.key, None if gone else event.kv.value))
                if not response.fragment and not response.created:
                    yield Revision(number if events else response.header.revision, tuple(events))
                    events = []
        except grpc.RpcError as error:
            if not self._is_cancelled:
                self._store._fail(self._index, error)
        else:
            if not self._is_cancelled:
                raise EtcdUnavailable("etcd ended the watch")
        finally:
            self.cancel()


class _Pending(NamedTuple):
    """A call under way, and the member it went to."""

    member: int
    future: Any


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


def _chunks(puts: Iterable[Put]) -> Iterator[list[Put]]:
    """`puts` in pieces that one transaction takes."""
    chunk: list[Put] = []
    size = 0
    for put in puts:
        more = len(put[0]) + len(put[1])
        if chunk and (len(chunk) == BULK_OPERATIONS or size + more > BULK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(put)
        size += more
    if chunk:
        yield chunk
