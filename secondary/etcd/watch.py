"""Following what changes in etcd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Self

import grpc

from secondary import etcdrpc
from secondary.etcd.members import EtcdMembers
from secondary.etcd.messages import check_watch
from secondary.etcd_values import EtcdUnavailable, Event, Revision
from secondary.key_ranges import prefix_end

_METHOD: Final = "/etcdserverpb.Watch/Watch"


class Watch:
    """One watch stream: iterate for the revisions; `cancel` from any thread ends it.

    Iteration raises EtcdUnavailable when the stream breaks (watch again from the revision
    after the last one seen) and EtcdCompacted when revisions have been lost (load again).
    """

    def __init__(self, members: EtcdMembers, prefix: bytes, from_revision: int) -> None:
        self._members = members
        self._member, client = members.chosen()
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
            _METHOD,
            request_serializer=etcdrpc.WatchRequest.SerializeToString,
            response_deserializer=etcdrpc.WatchResponse.FromString,
        )
        # Without a leader the stream would stay silent; so it is ended instead.
        request = etcdrpc.WatchRequest(create_request=create)
        self._call = watch(request, metadata=(("hasleader", "true"),))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
                self._members.fail(self._member, error)
        else:
            if not self._is_cancelled:
                raise EtcdUnavailable("etcd ended the watch")
        finally:
            self.cancel()
