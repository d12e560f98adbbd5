"""What nobody well-meaning sends to the AF_XDP front, and interfaces that fail under it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import pytest

from tests.support.framed import SECONDS, Framed, framed_at, query
from tests.support.framed_server import FRAMED_PORT, SOCKET_PORT
from tests.support.frames import (
    ETHERNET_IPV4,
    ETHERNET_IPV6,
    IPV4,
    IPV6,
    LINK_BYTES,
    Reader,
    datagram,
    packet,
    packet6,
    with_sum,
)
from tests.support.veth import (
    CLIENT_DEVICE,
    CLIENT_V4,
    CLIENT_V6,
    SERVER_DEVICE,
    SERVER_V4,
    SERVER_V6,
    veth,
)
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and AF_XDP need root")

FRAMES: Final = 50_000
# Fewer than a veth device holds.
BATCH: Final = 100
# More than the front has frames.
AFTERWARDS: Final = 3000
SPECIAL: Final = ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.255", SERVER_V4)
SPECIAL_6: Final = ("::", "::1", "ff02::1", "::ffff:192.0.2.1", SERVER_V6)


@pytest.fixture(params=["0.0.0.0", "::"])
def framed(request: pytest.FixtureRequest) -> Iterator[Framed]:
    """Served by frames and by sockets."""
    with framed_at(request.param) as framed:
        yield framed
        framed.stop()


@pytest.fixture
def wire(framed: Framed) -> Iterator[socket.socket]:
    """What sends and gets frames as they are, at the client's device."""
    with framed.wire() as wire:
        yield wire


at_ipv4 = pytest.mark.parametrize("framed", ["0.0.0.0"], indirect=True)
at_ipv6 = pytest.mark.parametrize("framed", ["::"], indirect=True)


def changed(random: Random, data: bytes, first: int) -> bytes:
    """One to four bytes, from `first` on, with other values."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        found[random.randrange(first, len(found))] = random.randrange(256)
    return bytes(found)


def damaged(random: Random, frame: bytes) -> bytes:
    """Bytes changed behind the link addresses, cut, or lengthened."""
    kind = random.randrange(4)
    if kind == 0:
        return frame[: random.randrange(LINK_BYTES, len(frame))]
    if kind == 1:
        return frame + random.randbytes(random.randint(1, 80))
    return changed(random, frame, 12)


class Forger:
    """Packets whose checksums are right and whose fields need not be, or that have none."""

    def __init__(self, random: Random, framed: Framed) -> None:
        self._random = random
        self._is_ipv6 = ":" in framed.host
        self.tag = ETHERNET_IPV6 if self._is_ipv6 else ETHERNET_IPV4

    def plain(self, payload: bytes) -> bytes:
        """A packet that is right."""
        if self._is_ipv6:
            return packet6(payload, source=CLIENT_V6, target=SERVER_V6)
        return packet(payload)

    def forged(self, payload: bytes) -> bytes:
        """One that somebody made."""
        return self._ipv6(payload) if self._is_ipv6 else self._ipv4(payload)

    def _ipv4(self, payload: bytes) -> bytes:
        random = self._random
        source = socket.inet_aton(random.choice((CLIENT_V4, *SPECIAL)))
        if random.random() < 0.3:
            source = random.randbytes(4)
        target = socket.inet_aton(SERVER_V4)
        udp = self._udp(datagram(payload, source + target, port=random.choice((0, 7, 53, 4000))))
        fields = bytearray(IPV4.pack(0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0, source, target))
        if random.random() < 0.5:
            fields[random.randrange(16)] = random.randrange(256)
        return with_sum(bytes(fields)) + udp

    def _ipv6(self, payload: bytes) -> bytes:
        random = self._random
        source = socket.inet_pton(socket.AF_INET6, random.choice((CLIENT_V6, *SPECIAL_6)))
        if random.random() < 0.3:
            source = random.randbytes(16)
        target = socket.inet_pton(socket.AF_INET6, SERVER_V6)
        udp = self._udp(datagram(payload, source + target, port=random.choice((0, 7, 53, 4000))))
        fields = bytearray(IPV6.pack(6 << 28, len(udp), 17, 64, source, target))
        if random.random() < 0.5:
            fields[random.randrange(8)] = random.randrange(256)
        return bytes(fields) + udp

    def _udp(self, udp: bytes) -> bytes:
        """With no checksum, another length, or as it is."""
        kind = self._random.randrange(4)
        if kind == 0:
            return udp[:6] + b"\0\0" + udp[8:]
        if kind == 1:
            return udp[:4] + struct.pack("!H", self._random.randrange(2 * len(udp))) + udp[6:]
        return udp


def reader(framed: Framed) -> Reader:
    """What the server should make of any frame."""
    family = socket.AF_INET6 if ":" in framed.host else socket.AF_INET
    broadcast = socket.inet_aton("192.0.2.255")
    return Reader((socket.inet_pton(family, framed.host),), (broadcast,), SOCKET_PORT)


def test_any_frame_gets_what_is_due(framed: Framed, wire: socket.socket) -> None:
    """Each right one among random ones is answered, none that is damaged or from nobody ever is.

    No frame's memory is lost over it: more queries than there is memory for are answered after.
    """
    random = Random(11)
    forger, right = Forger(random, framed), reader(framed)
    ends = framed.link + wire.getsockname()[4] + forger.tag
    forbidden: dict[int, str] = {}
    counts = {"due": 0, "refused": 0}
    for first in range(0, FRAMES, BATCH):
        due = set()
        # What comes late of a batch has no identifier of one that comes soon.
        for number in (1 + at % 65_000 for at in range(first, first + BATCH)):
            payload = query(number=number)
            plain = random.random() < 0.4
            frame = ends + (forger.plain(payload) if plain else forger.forged(payload))
            if random.random() < 0.5:
                frame = damaged(random, frame)
            found = right.payload(frame)
            forbidden.pop(number, None)
            if found == payload:
                due.add(number)
                counts["due"] += 1
            elif found is None:
                forbidden[number] = frame.hex()
                counts["refused"] += 1
            elif found and found[:2] != payload[:2]:
                # Without a checksum it is right, but its answer would be taken for another's.
                continue
            wire.send(frame)
        assert due
        while due:
            number = framed.next_answer(wire)
            assert number not in forbidden, forbidden[number]
            due.discard(number)
    assert min(counts.values()) > FRAMES // 100, counts
    before = framed.counted()["framed"]
    with framed.client(FRAMED_PORT) as client:
        for _ in range(0, AFTERWARDS, BATCH):
            framed.answers(client, [query()] * BATCH)
    wait_until(
        lambda: framed.counted()["framed"] >= before + AFTERWARDS,
        seconds=SECONDS,
        what="all were answered by frames",
    )


@at_ipv4
@pytest.mark.parametrize(
    ("target", "source"),
    [(b"\xff" * 6, None), (None, b"\xff" * 6), (None, b"\x01\0\x5e\0\0\x01")],
    ids=["to-broadcast", "from-broadcast", "from-multicast"],
)
def test_groups_of_links_get_no_answer_by_frames(
    framed: Framed, wire: socket.socket, target: bytes | None, source: bytes | None
) -> None:
    """The sockets serve these: an answer never has them as its source, nor goes to them."""
    before = framed.sent()
    link = wire.getsockname()[4]
    wire.send((target or framed.link) + (source or link) + ETHERNET_IPV4 + packet(query()))
    framed.answered += 1
    assert framed.sent()["beside"] == before["beside"] + 1


@at_ipv4
@pytest.mark.parametrize("source", [SERVER_V4, "192.0.2.255"], ids=["own", "broadcast"])
def test_sources_that_are_ours_are_for_the_kernel(
    framed: Framed, wire: socket.socket, source: str
) -> None:
    """It knows them for forged, and drops them as it does before the sockets."""
    link = wire.getsockname()[4]
    frame = framed.link + link + ETHERNET_IPV4 + packet(query(), source=source)
    assert framed.answered_frames(wire, [frame]) == []


@at_ipv4
def test_another_link_address_is_not_answered_for(framed: Framed, wire: socket.socket) -> None:
    """A frame that a switch floods for somebody else gets nothing that is sent in that name."""
    link = wire.getsockname()[4]
    frame = b"\x02\0\0\0\0\x09" + link + ETHERNET_IPV4 + packet(query())
    assert framed.answered_frames(wire, [frame]) == []


@at_ipv6
@pytest.mark.parametrize("source", SPECIAL_6)
def test_ipv6_sources_that_nobody_has(framed: Framed, wire: socket.socket, source: str) -> None:
    """They get no answer."""
    ends = framed.link + wire.getsockname()[4] + ETHERNET_IPV6
    frame = ends + packet6(query(), source=source, target=SERVER_V6)
    assert framed.answered_frames(wire, [frame]) == []


def test_the_right_one_beside_these_is_answered(framed: Framed, wire: socket.socket) -> None:
    """What the tests above spoil is right without it."""
    forger = Forger(Random(1), framed)
    ends = framed.link + wire.getsockname()[4] + forger.tag
    assert framed.answered_frames(wire, [ends + forger.plain(query(number=7))]) == [7]


def set_link(framed: Framed, state: str) -> None:
    """Sets the server's device up or down."""
    command = framed.pair.at_server("ip", "link", "set", SERVER_DEVICE, state)
    subprocess.run(command, check=True)


@at_ipv4
def test_an_interface_may_go_down_and_up(framed: Framed) -> None:
    """Frames answer again afterwards, as many as there is memory for and more."""
    for _ in range(3):
        with framed.client(FRAMED_PORT) as client:
            for _ in range(BATCH):
                client.send(query())
            set_link(framed, "down")
            set_link(framed, "up")
    before = framed.counted()["framed"]
    with framed.client(FRAMED_PORT) as client:
        wait_until(lambda: answers_at_all(client), seconds=SECONDS, what="it answers")
    with framed.client(FRAMED_PORT) as client:
        for _ in range(0, AFTERWARDS, BATCH):
            framed.answers(client, [query()] * BATCH)
    wait_until(
        lambda: framed.counted()["framed"] >= before + AFTERWARDS,
        seconds=SECONDS,
        what="all were answered by frames",
    )


def answers_at_all(client: socket.socket) -> bool:
    """Whether an answer comes soon."""
    client.settimeout(0.2)
    try:
        client.send(query())
        client.recv(4096)
    except OSError:
        return False
    return True


@at_ipv4
def test_a_removed_interface_leaves_the_server_serving(framed: Framed) -> None:
    """By its sockets, which have what comes in elsewhere; it ends as ever (see the fixture)."""
    subprocess.run(["ip", "-n", framed.pair.client, "link", "delete", CLIENT_DEVICE], check=True)
    lines = "import socket; s = socket.create_connection(('127.0.0.1', 53), 5); s.close()"
    up = ["ip", "-n", framed.pair.server, "link", "set", "lo", "up"]
    subprocess.run(up, check=True)
    subprocess.run(framed.pair.at_server(sys.executable, "-c", lines), check=True)
    wait_until(
        lambda: "dns.interface_gone" in framed.log.read_text(), seconds=SECONDS, what="it says so"
    )


def attached(framed: Framed) -> bool:
    """Whether an XDP program is at the server's device."""
    command = ["ip", "-n", framed.pair.server, "link", "show", SERVER_DEVICE]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "prog/xdp" in shown


def test_a_killed_server_leaves_nothing_behind() -> None:
    """The filter goes with the process, and queries to the kernel."""
    with framed_at("0.0.0.0") as framed:
        assert attached(framed)
        framed.process.send_signal(signal.SIGKILL)
        assert framed.process.wait(SECONDS) == -signal.SIGKILL
        wait_until(lambda: not attached(framed), seconds=SECONDS, what="the filter is gone")


def without_address(device: str, server: str) -> None:
    """Takes the server's addresses away."""
    subprocess.run(["ip", "-n", server, "address", "flush", "dev", device], check=True)


def with_address(device: str, server: str) -> None:
    """Gives the server one there."""
    command = ["ip", "-n", server, "address", "add", "198.51.100.1/32", "dev", device]
    subprocess.run(command, check=True)


@pytest.mark.parametrize(
    ("device", "prepare", "says"),
    [
        (SERVER_DEVICE, without_address, "Cannot assign requested address"),
        ("lo", with_address, "Protocol not supported"),
    ],
    ids=["no-address", "no-ethernet"],
)
def test_what_nothing_could_be_taken_from_is_refused(
    device: str, prepare: Callable[[str, str], None], says: str
) -> None:
    """An interface without the address that is listened at, or one that is no Ethernet."""
    with veth() as pair:
        prepare(device, pair.server)
        done = subprocess.run(
            pair.at_server(sys.executable, "-m", "tests.support.framed_server", device, "0.0.0.0"),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    assert f"ConfigurationError: dns.interface {device}: {says}; queries are taken" in done.stderr


UNREAD: Final = """
from node.endpoint import Endpoint
from secondary.dns.xdp import XdpFront
front = XdpFront.open("far", Endpoint("0.0.0.0", 53))
front.begin(0)
while input("ready"):
    print()
    (metric,) = front.collect()
    print(int(metric.samples[0].value), flush=True)
for one in front.sockets:
    one.close()
(metric,) = front.collect()
print()
print(int(metric.samples[0].value), flush=True)
"""


def dropped(process: subprocess.Popen[str], line: str) -> int:
    """What the program above counted when it is told a line; the empty one has it close."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    return int(process.stdout.readline())


def test_what_there_is_no_room_for_is_counted() -> None:
    """Beyond all frames of a queue; none is before, and the count stays when it is closed."""
    with veth() as pair:
        command = pair.at_server(sys.executable, "-c", UNREAD)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert dropped(process, "count") == 0
                with pair.client_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    for _ in range(AFTERWARDS):
                        client.sendto(query(), (SERVER_V4, FRAMED_PORT))
                found = wait_until(
                    lambda: dropped(process, "count"), seconds=SECONDS, what="some are dropped"
                )
                assert dropped(process, "") >= found
            finally:
                process.kill()


LEAVING: Final = """
import socket
from node.endpoint import Endpoint
from secondary.dns.xdp import XdpFront
ordinary = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ordinary.bind(("0.0.0.0", 53))
front = XdpFront.open("far", Endpoint("0.0.0.0", 53))
front.begin(0)
front.sockets[0].close()
print("ready", flush=True)
data, client = ordinary.recvfrom(4096)
ordinary.sendto(data, client)
"""


def test_a_queue_that_nobody_reads_is_the_sockets() -> None:
    """As when its thread ended: the filter is still there, and passes on what comes."""
    with veth() as pair:
        command = pair.at_server(sys.executable, "-c", LEAVING)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                with pair.client_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(SECONDS)
                    client.sendto(query(), (SERVER_V4, FRAMED_PORT))
                    assert client.recv(4096) == query()
            finally:
                process.kill()
