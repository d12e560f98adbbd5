"""Queries taken from an interface by AF_XDP, over a pair of virtual Ethernet devices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import dns.message
import dns.rcode
import pytest

from node.capabilities import Capability
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from secondary.dns.server import run
from secondary.dns.xdp import XdpFront
from secondary.sections import DnsSettings
from secondary.settings import SecondarySettings
from tests.support.boards import pin_file
from tests.support.fast_path import mutated, random_query
from tests.support.framed import SECONDS, Framed, framed_at, query
from tests.support.framed_server import FRAMED_PORT, SOCKET_PORT
from tests.support.frames import ETHERNET_IPV4, ETHERNET_VLAN, fragments, packet
from tests.support.log_builder import LogBuilder
from tests.support.veth import (
    SERVER_DEVICE,
    SERVER_V4,
    SERVER_V6,
    Veth,
    veth,
)
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and AF_XDP need root")

CORPUS: Final = Path(__file__).parents[1] / "fuzz" / "corpus"
BATCH: Final = 30
# More than that no frame takes.
MAX_WIRE: Final = 1400
# An answer has a cookie of its second, so that two of them may differ once.
TRIES: Final = 4


@pytest.fixture(scope="module", params=["0.0.0.0", "::", SERVER_V6])
def framed(request: pytest.FixtureRequest) -> Iterator[Framed]:
    """Served by frames and by sockets, at each kind of address."""
    with framed_at(request.param) as framed:
        yield framed
        framed.stop()


at_ipv4 = pytest.mark.parametrize("framed", ["0.0.0.0"], indirect=True)


def corpus() -> list[bytes]:
    """What the fuzzer found, and what the fast path is compared with the responder by."""
    found = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    wires = [data[1:] for data in found if data and not data[0] & 0x80]
    random = Random(5)
    usual = [random_query(random) for _ in range(1500)]
    return [*wires, *usual, *(mutated(random, wire) for wire in usual)]


def test_answers_are_those_of_the_sockets(framed: Framed) -> None:
    """Byte for byte, for all queries that the fast path is tested with, and none by sockets."""
    before = framed.sent()
    wires = [
        (number % 60_000).to_bytes(2, "big") + wire[2:]
        for number, wire in enumerate(corpus())
        if len(wire) <= MAX_WIRE
    ]
    assert len(wires) > 3000
    with framed.client(FRAMED_PORT) as one, framed.client(SOCKET_PORT) as other:
        for first in range(0, len(wires), BATCH):
            asked = wires[first : first + BATCH]
            assert any(
                framed.answers(one, asked) == framed.answers(other, asked) for _ in range(TRIES)
            ), first
    after = framed.sent()
    assert after["framed"] - before["framed"] > len(wires) // 2
    assert after["beside"] == before["beside"]


@pytest.fixture
def wire(framed: Framed) -> Iterator[socket.socket]:
    """What sends frames as they are, to the server's device."""
    with framed.wire() as wire:
        yield wire


def send(framed: Framed, wire: socket.socket, packets: Sequence[bytes], tag: bytes) -> None:
    """Sends packets to the server; `tag` says what they are."""
    for one in packets:
        wire.send(framed.link + wire.getsockname()[4] + tag + one)


@at_ipv4
@pytest.mark.parametrize(
    "packets",
    [[packet(query(), options=b"\x01\x01\x01\x00")], fragments(query())],
    ids=["options", "fragments"],
)
def test_what_is_not_plain_is_served_by_the_sockets(
    framed: Framed, wire: socket.socket, packets: list[bytes]
) -> None:
    """IP options and fragments are left to the kernel, which knows what to do with them."""
    before = framed.sent()
    send(framed, wire, packets, ETHERNET_IPV4)
    framed.answered += 1
    assert framed.sent()["beside"] == before["beside"] + 1


@at_ipv4
@pytest.mark.parametrize(
    ("packets", "tag"),
    [
        ([packet(query(), damage=0x0101)], ETHERNET_IPV4),
        ([packet(query(), length=4000)], ETHERNET_IPV4),
        ([packet(query(), length=7)], ETHERNET_IPV4),
        ([packet(query())[:30]], ETHERNET_IPV4),
        ([packet(query(), source="127.0.0.1")], ETHERNET_IPV4),
        ([packet(query(), source="224.0.0.1")], ETHERNET_IPV4),
        ([packet(query(), target="192.0.2.9")], ETHERNET_IPV4),
        ([packet(query())], ETHERNET_VLAN + ETHERNET_IPV4),
    ],
    ids=["checksum", "long", "short", "cut", "loopback", "multicast", "not-ours", "vlan"],
)
def test_what_is_wrong_is_not_answered(
    framed: Framed, wire: socket.socket, packets: list[bytes], tag: bytes
) -> None:
    """Damaged datagrams, sources that nobody has, other addresses and VLANs; a right one is."""
    ends = framed.link + wire.getsockname()[4] + tag
    assert framed.answered_frames(wire, [ends + one for one in packets]) == []


@at_ipv4
def test_a_right_frame_of_this_kind_is_answered(framed: Framed, wire: socket.socket) -> None:
    """What the test above spoils is right without it."""
    before = framed.sent()
    send(framed, wire, [packet(query())], ETHERNET_IPV4)
    framed.answered += 1
    assert framed.sent() == {**before, "framed": before["framed"] + 1}


def capabilities(pid: int) -> set[int]:
    """What each thread of a process may do, or could come to, as /proc shows it."""
    lines = [
        line.split()
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
    ]
    names = ("CapEff:", "CapPrm:", "CapInh:", "CapBnd:", "CapAmb:")
    return {int(line[1], 16) for line in lines if line[0] in names}


def test_the_role_keeps_no_privilege(tmp_path: Path) -> None:
    """It answers by frames, and no thread may do any more what opening the interface took.

    It shows what it had no room for, too.
    """
    log = LogBuilder()
    settings = tmp_path / "secondary.toml"
    settings.write_text(
        'name = "test"\nupstream = "127.0.0.1:1"\ndrain_seconds = 0.2\n'
        f'root_file = "{pin_file(log, tmp_path)}"\n'
        f'[etcd]\nendpoints = ["unix:{tmp_path}/no-etcd"]\n'
        f'[dns]\nlisten = "{SERVER_V4}:{FRAMED_PORT}"\nhttp = "{SERVER_V4}:7451"\n'
        f'interface = "{SERVER_DEVICE}"\n'
    )
    program = [sys.executable, "-m", "secondary", "dns", "-c", str(settings)]
    with veth() as pair, subprocess.Popen(pair.at_server(*program)) as process:
        try:
            wait_until(lambda: refused(pair), seconds=SECONDS, what="the role answers")
            taken = 1 << Capability.NET_ADMIN | 1 << Capability.NET_RAW | 1 << Capability.BPF
            assert not any(allowed & taken for allowed in capabilities(process.pid))
            assert "smtpnic_dns_xdp_dropped_total 0.0" in metrics(pair)
        finally:
            process.terminate()
        assert process.wait(SECONDS) == 0


def metrics(pair: Veth) -> str:
    """What the role shows."""
    url = f"http://{SERVER_V4}:7451/metrics"
    program = f"from urllib.request import urlopen; print(urlopen('{url}').read().decode())"
    command = pair.at_server(sys.executable, "-c", program)
    # What a host sends to itself passes there.
    subprocess.run(pair.at_server("ip", "link", "set", "lo", "up"), check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    return done.stdout


def refused(pair: Veth) -> bool:
    """Whether a server without a register says so."""
    with pair.client_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect((SERVER_V4, FRAMED_PORT))
        try:
            client.send(query())
            return dns.message.from_wire(client.recv(4096)).rcode() != dns.rcode.NOERROR
        except OSError:
            return False


def test_an_interface_that_cannot_be_opened_is_named() -> None:
    """By ConfigurationError, before anything is served."""
    with pytest.raises(ConfigurationError, match=r"dns.interface no-such: .* no such interface"):
        XdpFront.open("no-such", Endpoint(SERVER_V4, FRAMED_PORT))
    with pytest.raises(ConfigurationError, match="needs a port"):
        XdpFront.open("no-such", Endpoint(SERVER_V4, 0))


def test_pure_python_takes_no_frames() -> None:
    """It says so, and does not serve without what was asked for."""
    dns_settings = DnsSettings(compiled=False, interface=SERVER_DEVICE)
    settings = SecondarySettings.model_construct(dns=dns_settings)
    with pytest.raises(ConfigurationError, match="needs the compiled module"):
        run(settings)
