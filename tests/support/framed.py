"""A server that takes queries by AF_XDP beside its sockets, in a network of two namespaces."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import dns.message

from tests.support.framed_server import FRAMED_PORT
from tests.support.frames import (
    ETHERNET_IPV4,
    ETHERNET_IPV6,
    IPV4,
    IPV6,
    LINK_BYTES,
    UDP,
    packet,
    packet6,
)
from tests.support.veth import (
    CLIENT_DEVICE,
    CLIENT_V6,
    SERVER_DEVICE,
    SERVER_V4,
    SERVER_V6,
    Veth,
    veth,
)
from tests.support.wait import wait_until

SECONDS: Final = 20.0
LISTED: Final = "192-0-2-36.smtpnic.example"
_SENTINEL, _BY_FRAMES, _BY_SOCKETS = 0xFFFF, 0xFFFE, 0xFFFD
# linux/if_ether.h
_ALL_KINDS: Final = 3


def query(name: str = LISTED, kind: str = "A", number: int = 1) -> bytes:
    """A query as a client sends it."""
    message = dns.message.make_query(name, kind)
    message.id = number
    return message.to_wire()


@dataclass
class Framed:
    """The running server, and the namespaces around it."""

    pair: Veth
    process: subprocess.Popen[str]
    host: str
    # What it logs.
    log: Path

    # Answers that came back, or will; the server counts them a moment later.
    answered: int = 0

    def sent(self) -> dict[str, int]:
        """Answers by the way that they took, once all of them are counted."""
        return wait_until(self._all_counted, seconds=SECONDS, what=f"{self.answered} were counted")

    def _all_counted(self) -> dict[str, int]:
        counted = self.counted()
        return counted if sum(counted.values()) == self.answered else {}

    def counted(self) -> dict[str, int]:
        """Answers by the way that they took, as far as they are counted."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counted: dict[str, int] = json.loads(self.process.stdout.readline())
        return counted

    def stop(self) -> None:
        """Has the server end, as it should."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0

    def answers(self, client: socket.socket, wires: Sequence[bytes]) -> list[bytes]:
        """All that comes back, in some order; a query that is answered last tells the end."""
        for wire in wires:
            client.send(wire)
        client.send(query("smtpnic.example", "SOA", _SENTINEL))
        found = []
        while True:
            found.append(client.recv(4096))
            self.answered += 1
            if found[-1][:2] == _SENTINEL.to_bytes(2, "big"):
                return sorted(found)

    def client(self, port: int) -> socket.socket:
        """A socket that talks to the server alone."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        client = self.pair.client_socket(family, socket.SOCK_DGRAM)
        client.settimeout(SECONDS)
        client.connect((self.host, port))
        return client

    @cached_property
    def link(self) -> bytes:
        """The server's Ethernet address."""
        command = self.pair.at_server("cat", f"/sys/class/net/{SERVER_DEVICE}/address")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return bytes.fromhex(done.stdout.strip().replace(":", ""))

    def answered_frames(self, wire: socket.socket, frames: Sequence[bytes]) -> list[int]:
        """Identifiers of the queries in frames that get an answer, whichever way it takes."""
        is_ipv6 = ":" in self.host
        own, tag = wire.getsockname()[4], ETHERNET_IPV6 if is_ipv6 else ETHERNET_IPV4
        for frame in frames:
            wire.send(frame)
        # Both ways keep the order of what comes; the second is for the sockets.
        ends = (_BY_FRAMES, self.link), (_BY_SOCKETS, b"\xff" * 6)
        for number, link in ends:
            last = query(number=number)
            plain = packet6(last, source=CLIENT_V6, target=SERVER_V6) if is_ipv6 else packet(last)
            wire.send(link + own + tag + plain)
        waited, found = {number for number, _ in ends}, []
        while waited:
            number = self.next_answer(wire)
            if number not in waited:
                found.append(number)
            waited.discard(number)
        return found

    def next_answer(self, wire: socket.socket) -> int:
        """The identifier of the next answer that comes to the client's device."""
        while True:
            frame, (_, _, direction, *_) = wire.recvfrom(4096)
            is_ipv6 = frame[12:LINK_BYTES] == ETHERNET_IPV6
            protocol = frame[LINK_BYTES + (6 if is_ipv6 else 9)]
            udp = frame[LINK_BYTES + (IPV6 if is_ipv6 else IPV4).size :]
            if (
                direction != socket.PACKET_OUTGOING
                and protocol == socket.IPPROTO_UDP
                and udp[:2] == FRAMED_PORT.to_bytes(2, "big")
            ):
                self.answered += 1
                return int.from_bytes(udp[UDP.size : UDP.size + 2], "big")

    @contextmanager
    def wire(self) -> Iterator[socket.socket]:
        """What sends and gets frames as they are, at the client's device."""
        wire = self.pair.client_socket(socket.AF_PACKET, socket.SOCK_RAW)
        with wire, self.client(FRAMED_PORT) as client:
            # Each comes to know the other's link address.
            self.answers(client, [])
            wire.bind((CLIENT_DEVICE, _ALL_KINDS))
            wire.settimeout(SECONDS)
            yield wire


@contextmanager
def framed_at(listen: str) -> Iterator[Framed]:
    """Served by frames and by sockets at an address, which may be a wildcard."""
    with TemporaryDirectory() as home, veth() as pair:
        log = Path(home, "log")
        command = pair.at_server(sys.executable, "-m", "tests.support.framed_server")
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*command, SERVER_DEVICE, listen],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield Framed(pair, process, SERVER_V6 if ":" in listen else SERVER_V4, log)
            except BaseException:
                process.kill()
                print(log.read_text())
                raise
