"""Sections of the settings that primary and secondary have in common, both serving the log."""

from __future__ import annotations

from node.settings import Positive, Section


class LogSection(Section):
    """[log]: the log for anyone's tools, C2SP tlog-tiles over plain HTTP."""

    # Open at once, and those of one address; a proxy before it is one address.
    connections: Positive = 64
    connections_per_client: Positive = 16


class ReplicationSection(Section):
    """Replication, for nodes that follow, over mutual TLS."""

    connections: Positive = 256
    # Of one address; of IPv6, of one network of 64 bits. A node has a few.
    connections_per_client: Positive = 64
    calls: Positive = 512
    # Streams of the log open at once, and what may wait for each.
    subscribers: Positive = 128
    # A node's stream that broke off unseen may be there still when it has made the next.
    subscribers_per_node: Positive = 4
    buffered_events: Positive = 512
    buffered_bytes: Positive = 16 * 1024 * 1024
