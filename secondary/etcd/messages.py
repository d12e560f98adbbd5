"""Between the store's values and etcd's messages, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc

from secondary import etcdrpc
from secondary.etcd_values import (
    Comparison,
    EtcdCompacted,
    EtcdError,
    EtcdFull,
    EtcdRefused,
    EtcdUnavailable,
    FenceLost,
    Holds,
    Put,
)

_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


def transaction(
    comparisons: Sequence[Comparison], puts: Iterable[Put], deletes: Iterable[bytes], lease: int
) -> etcdrpc.TxnRequest:
    """A transaction that does all of it if every comparison holds, and otherwise nothing."""
    request = etcdrpc.TxnRequest(compare=[_compare(comparison) for comparison in comparisons])
    add = request.success.add
    for key, value in puts:
        put = add().request_put
        put.key, put.value = key, value
        # An attribute that is set costs, even to its default; bulk puts have no lease.
        if lease:
            put.lease = lease
    for key in deletes:
        add().request_delete_range.key = key
    return request


def _compare(comparison: Comparison) -> etcdrpc.Compare:
    if isinstance(comparison, Holds):
        return etcdrpc.Compare(
            target=etcdrpc.Compare.VALUE, key=comparison.key, value=comparison.value
        )
    return etcdrpc.Compare(
        target=etcdrpc.Compare.MOD, key=comparison.key, mod_revision=comparison.mod_revision
    )


def revision_of(response: etcdrpc.TxnResponse) -> int:
    """The revision that the transaction made; FenceLost if a comparison did not hold."""
    if not response.succeeded:
        raise FenceLost("another writer changed the replica first")
    return response.header.revision


def check_watch(response: etcdrpc.WatchResponse) -> None:
    """EtcdCompacted or EtcdUnavailable if the response says that the watch has ended."""
    if response.compact_revision:
        raise EtcdCompacted(f"etcd has forgotten what was before {response.compact_revision}")
    if response.canceled:
        raise EtcdUnavailable(f"etcd cancelled the watch: {response.cancel_reason}")


def meaning(error: grpc.RpcError) -> EtcdError:
    """What a gRPC error means, by its code and, where one code has two meanings, its text."""
    # What calls raise is also a grpc.Call, which the stubs of grpc do not say.
    code, text = error.code(), f"etcd: {error.details()}"
    if code is grpc.StatusCode.OUT_OF_RANGE:
        return EtcdCompacted(text)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if "space exceeded" in text:
            return EtcdFull(text)
        return EtcdUnavailable(text) if "too many requests" in text else EtcdRefused(text)
    if code is grpc.StatusCode.NOT_FOUND:
        return FenceLost(text)
    if code in _REFUSALS:
        return EtcdRefused(text)
    return EtcdUnavailable(text)
