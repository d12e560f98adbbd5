"""An etcd cluster as a store of keys that can be fenced, paged and watched.

Nothing here tries again by itself: EtcdUnavailable is raised at once, so that the caller can
say so, wait as it sees fit, and go on. An EtcdStore may be used by many threads at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Histogram

from secondary import etcdrpc
from secondary.etcd.members import CALL_SECONDS, EtcdMembers, Pending
from secondary.etcd.messages import revision_of, transaction
from secondary.etcd.watch import Watch
from secondary.etcd_values import (
    Comparison,
    EtcdStatus,
    EtcdTls,
    FenceLost,
    Put,
    Reading,
)
from secondary.key_ranges import RangeWalk, prefix_end

# etcd's defaults: --max-txn-ops 128 and --max-request-bytes 1.5 MiB, less some framing.
MAX_TXN_OPERATIONS = 128
MAX_TXN_BYTES = 1_500_000
# Some hundreds of kilobytes: of larger pages the interpreter keeps megabytes after a load.
PAGE_KEYS = 2_000
# Bulk: the largest transactions, some under way at once, keep etcd busy.
BULK_OPERATIONS = MAX_TXN_OPERATIONS
BULK_BYTES = 1 << 20
BULK_OUTSTANDING = 8


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
        self._members = EtcdMembers(endpoints, tls, call_seconds)

    @property
    def times(self) -> Histogram:
        """For a process's registry; bulk transactions and pages, many at once, are not in it."""
        return self._members.times

    def close(self) -> None:
        """End every call and connection."""
        self._members.close()

    def get(self, key: bytes, revision: int = 0) -> Reading:
        """The value of `key` at `revision`, or the newest (0), read from a quorum."""
        request = etcdrpc.RangeRequest(key=key, revision=revision)
        response: etcdrpc.RangeResponse = self._members.call("kvstub", "Range", request)
        if not response.kvs:
            return Reading(response.header.revision, None, 0)
        found = response.kvs[0]
        return Reading(response.header.revision, found.value, found.mod_revision)

    def first_key(self, start: bytes, end: bytes) -> bytes | None:
        """The first key in [start, end); None if there is none."""
        request = etcdrpc.RangeRequest(key=start, range_end=end, limit=1, keys_only=True)
        response: etcdrpc.RangeResponse = self._members.call("kvstub", "Range", request)
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
            pending = self._members.begin("kvstub", "Range", request)
            if last is not None and last.kvs:
                yield last
            last = self._members.finish(pending)
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
        return revision_of(self._members.call("kvstub", "Txn", request))

    def put_all(self, puts: Iterable[Put], comparisons: Sequence[Comparison] = ()) -> int:
        """Put many keys, in transactions of about a hundred, each guarded by `comparisons`.

        Returns how many. On an error, what was put before stays.
        """
        pending: deque[Pending] = deque()
        total = 0
        try:
            for chunk in _chunks(puts):
                total += len(chunk)
                request = transaction(comparisons, chunk, (), 0)
                pending.append(self._members.begin("kvstub", "Txn", request))
                if len(pending) >= BULK_OUTSTANDING:
                    revision_of(self._members.finish(pending.popleft()))
            while pending:
                revision_of(self._members.finish(pending.popleft()))
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
            revision_of(self._members.call("kvstub", "Txn", request))
            yield len(keys)

    def watch(self, prefix: bytes, from_revision: int) -> Watch:
        """Every change under `prefix` from `from_revision` on: `with store.watch(...) as w`."""
        return Watch(self._members, prefix, from_revision)

    def grant_lease(self, seconds: int) -> int:
        """A lease: the keys bound to it vanish unless it is kept every `seconds`."""
        request = etcdrpc.LeaseGrantRequest(TTL=seconds)
        response: etcdrpc.LeaseGrantResponse
        response = self._members.call("leasestub", "LeaseGrant", request)
        return response.ID

    def keep_lease(self, lease: int) -> None:
        """Start the lease's time anew; FenceLost if it has ended."""
        response = self._members.keep_lease(etcdrpc.LeaseKeepAliveRequest(ID=lease))
        if response.TTL <= 0:
            raise FenceLost("the lease has ended")

    def revoke_lease(self, lease: int) -> None:
        """End the lease and delete the keys bound to it."""
        self._members.call("leasestub", "LeaseRevoke", etcdrpc.LeaseRevokeRequest(ID=lease))

    def status(self) -> EtcdStatus:
        """What the member in use says of itself."""
        found: etcdrpc.StatusResponse
        found = self._members.call("maintenancestub", "Status", etcdrpc.StatusRequest())
        request = etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.GET)
        raised: etcdrpc.AlarmResponse = self._members.call("maintenancestub", "Alarm", request)
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
        self._members.call("kvstub", "Compact", etcdrpc.CompactionRequest(revision=revision))

    def probe_limits(self, key: bytes, operations: int, size: int) -> None:
        """EtcdRefused unless a transaction of so many operations and bytes is taken.

        Nothing is changed: its comparison never holds.
        """
        never = etcdrpc.Compare(target=etcdrpc.Compare.VERSION, key=key, version=-1)
        value = bytes(size // operations)
        puts = ((key + b"/%d" % number, value) for number in range(operations))
        request = transaction((), puts, (), 0)
        request.compare.append(never)
        self._members.call("kvstub", "Txn", request)


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
