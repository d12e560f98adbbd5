"""A slow line between two TUN devices: `python -m bench.line NEAR FAR` makes both and forwards.

Not every kernel has netem (CONFIG_NET_SCH_NETEM); TUN every one has. A line on standard input sets
the delay of one way in milliseconds, and the percentage of packets that are lost.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import selectors
import struct
import sys
import time
from contextlib import suppress
from random import Random
from typing import Final

# linux/if_tun.h: packets without a header of the driver's own.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
MAX_PACKET_BYTES: Final = 65_536
# Packets under way: more than a window of any connection here.
MAX_PACKETS: Final = 20_000


class Line:
    """Forwards packets both ways, each after the delay, but for those lost."""

    def __init__(self, near: int, far: int) -> None:
        self._other = {near: far, far: near}
        self._delay_s = 0.0
        self._lost = 0.0
        # Losses are the same in every run.
        self._random = Random(1)
        # Due, a number that keeps the order of equals, where to, and the packet.
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._sent = 0

    def run(self) -> None:
        """Until standard input ends."""
        selector = selectors.DefaultSelector()
        for descriptor in (*self._other, 0):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            due = self._under_way[0][0] - time.monotonic() if self._under_way else None
            for key, _ in selector.select(None if due is None else max(0.0, due)):
                if key.fd == 0:
                    words = os.read(0, 100).split()
                    if not words:
                        return
                    self._delay_s, self._lost = float(words[-2]) / 1000, float(words[-1]) / 100
                else:
                    self._take(key.fd)
            self._deliver()

    def _take(self, descriptor: int) -> None:
        packet = os.read(descriptor, MAX_PACKET_BYTES)
        if self._random.random() < self._lost or len(self._under_way) >= MAX_PACKETS:
            return
        self._sent += 1
        due = time.monotonic() + self._delay_s
        heapq.heappush(self._under_way, (due, self._sent, self._other[descriptor], packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, descriptor, packet = heapq.heappop(self._under_way)
            # What comes before the other end is up is lost, as on any line.
            with suppress(OSError):
                os.write(descriptor, packet)


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


def main() -> None:
    line = Line(*(_tun(name) for name in sys.argv[1:]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    line.run()


if __name__ == "__main__":
    main()
