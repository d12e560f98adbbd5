"""Asks name servers for a change again and again, until each of them answers for it."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.message
import dns.rdatatype

from lab.asking import dns_name
from lab.cluster import ZONE, Secondary
from lab.process import LabError

# Between two questions to one server. It bounds what asking adds to a result, and what it
# takes from the machine: dnslib answers a few thousand questions a second on one core.
ASK_EVERY_SECONDS: Final = 0.002
# An answer that was lost is not waited for.
LOST_SECONDS: Final = 0.5
VISIBLE_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 4096


@dataclass(slots=True)
class _Asked:
    """One server, and when it may be asked again."""

    socket: socket.socket
    next_at: float = 0.0


class Askers:
    """A UDP socket to each of some secondaries."""

    def __init__(self, secondaries: Sequence[Secondary]) -> None:
        self._sockets = [_connected(secondary.dns) for secondary in secondaries]

    def wait_visible(self, address: str) -> list[float]:
        """When each server first answered for `address`, by `time.perf_counter`."""
        query = dns.message.make_query(dns_name(address, ZONE), dns.rdatatype.A).to_wire()
        clock = time.perf_counter
        deadline = clock() + VISIBLE_SECONDS
        waiting = {one.fileno(): _Asked(one) for one in self._sockets}
        seen: dict[int, float] = {}
        while waiting:
            now = clock()
            if now > deadline:
                raise LabError(f"{address} is not visible everywhere in {VISIBLE_SECONDS} s")
            for asked in waiting.values():
                if asked.next_at <= now:
                    asked.socket.send(query)
                    asked.next_at = now + LOST_SECONDS
            pause = max(0.0, min(asked.next_at for asked in waiting.values()) - clock())
            ready, _, _ = select.select(list(waiting), [], [], pause)
            for number in ready:
                if _is_there(waiting[number].socket.recv(MAX_ANSWER_BYTES), query):
                    seen[number] = clock()
                    del waiting[number]
                else:
                    waiting[number].next_at = clock() + ASK_EVERY_SECONDS
        return [seen[one.fileno()] for one in self._sockets]

    def close(self) -> None:
        """Asks no more."""
        for one in self._sockets:
            one.close()


def _connected(server: tuple[str, int]) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(server)
    return one


def _is_there(reply: bytes, query: bytes) -> bool:
    """Whether the reply is to this query, without error, and has an answer (RFC 1035, 4.1.1)."""
    return reply[:2] == query[:2] and not reply[3] & 0x0F and reply[6:8] != b"\0\0"
