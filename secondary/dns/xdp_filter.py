"""The XDP program that takes our UDP queries from an interface, and passes everything else on.

What it takes is plain: sent to our link address from one, no VLAN tag, no IP options or extension
headers, no fragment, an address and the port that are ours, and no longer than an Ethernet frame.
The kernel verifies it when it is loaded.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

# linux/bpf.h: an instruction is a code, two registers, an offset and a number.
_INSTRUCTION: Final = struct.Struct("=BBhi")
INSTRUCTION_BYTES: Final = _INSTRUCTION.size
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x61, 0x69, 0x71
_MOVE, _MOVE_NUMBER, _ADD_NUMBER, _AND_NUMBER = 0xBF, 0xB7, 0x07, 0x57
_JUMP, _JUMP_IF_GREATER, _JUMP_UNLESS_NUMBER = 0x05, 0x2D, 0x55
# Compares 32 bits, where a number of 64 would have its sign extended.
_JUMP_UNLESS_WORD: Final = 0x56
_LOAD_MAP, _CALL, _EXIT = 0x18, 0x85, 0x95
_PSEUDO_MAP_FD: Final = 1
_REDIRECT_MAP: Final = 51
_XDP_PASS: Final = 2
# struct xdp_md
_DATA, _DATA_END, _QUEUE = 0, 4, 16
# Registers: the result, what the program is called with, and what it uses.
_R0, _CONTEXT, _R2, _R3, _PACKET, _END, _VALUE, _PAST = range(8)

_LINK_HEADER: Final = 14
_IPV4_HEADER, _IPV6_HEADER, _UDP_HEADER = 20, 40, 8
_UDP: Final = 17
# Of the first byte: broadcast and multicast.
_LINK_GROUP: Final = 1
# More fragments, and the offset of this one (RFC 791, 3.1).
_FRAGMENT: Final = 0x3FFF
_MAX_IP_BYTES: Final = 1500


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken: sent to `link` (an Ethernet address), one of `addresses` (packed) and `port`.

    What comes from one of `mine` is not: whether such a source can be right, the kernel knows.
    """

    link: bytes
    addresses: Sequence[bytes]
    port: int
    mine: Sequence[bytes] = ()


@dataclass
class _Program:
    """Instructions, and which of them jump to a label that comes later."""

    code: list[tuple[int, int, int, int]] = field(default_factory=list)
    jumps: list[tuple[int, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def add(
        self, code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0
    ) -> None:
        self.code.append((code, to | source << 4, offset, number))

    def jump(self, code: int, label: str, to: int = 0, source: int = 0, number: int = 0) -> None:
        self.jumps.append((len(self.code), label))
        self.add(code, to, source, 0, number)

    def label(self, name: str) -> None:
        self.labels[name] = len(self.code)

    def reach(self, size: int) -> None:
        """Passes on what is shorter; the kernel has this asked before a packet is read."""
        self.add(_MOVE, _PAST, _PACKET)
        self.add(_ADD_NUMBER, _PAST, number=size)
        self.jump(_JUMP_IF_GREATER, "pass", _PAST, _END)

    def expect(self, load: int, at: int, value: int, otherwise: str = "pass") -> None:
        """Goes to `otherwise` unless the packet has this value there."""
        self.add(load, _VALUE, _PACKET, at)
        jump = _JUMP_UNLESS_WORD if load == _LOAD_WORD else _JUMP_UNLESS_NUMBER
        self.jump(jump, otherwise, _VALUE, number=value)

    def assembled(self) -> bytes:
        for at, name in self.jumps:
            code, registers, _, number = self.code[at]
            self.code[at] = code, registers, self.labels[name] - at - 1, number
        return b"".join(_INSTRUCTION.pack(*one) for one in self.code)


def filter_program(taken: Taken, sockets: int) -> bytes:
    """The program, in eBPF: what is taken goes to the socket of its queue.

    `sockets` is the descriptor of a map (BPF_MAP_TYPE_XSKMAP) of sockets by queue. Without one for
    the queue a packet is passed on.
    """
    program = _Program()
    program.add(_LOAD_WORD, _PACKET, _CONTEXT, _DATA)
    program.add(_LOAD_WORD, _END, _CONTEXT, _DATA_END)
    program.reach(_LINK_HEADER + _IPV4_HEADER + _UDP_HEADER)
    # What is longer has no room in a frame's memory.
    program.add(_MOVE, _PAST, _PACKET)
    program.add(_ADD_NUMBER, _PAST, number=_LINK_HEADER + _MAX_IP_BYTES)
    program.jump(_JUMP_IF_GREATER, "pass", _END, _PAST)
    _between_links(program, taken.link)
    program.expect(_LOAD_HALF, 12, _half(0x0800), "ipv6")
    _ipv4(program, taken)
    program.label("ipv6")
    program.expect(_LOAD_HALF, 12, _half(0x86DD))
    _ipv6(program, taken)
    _endings(program, sockets)
    return program.assembled()


def _between_links(program: _Program, link: bytes) -> None:
    """Passes on what others than this link address get too: the answer has the two swapped."""
    first, last = struct.unpack("=iH", link)
    program.expect(_LOAD_WORD, 0, first)
    program.expect(_LOAD_HALF, 4, last)
    program.add(_LOAD_BYTE, _VALUE, _PACKET, 6)
    program.add(_AND_NUMBER, _VALUE, number=_LINK_GROUP)
    program.jump(_JUMP_UNLESS_NUMBER, "pass", _VALUE)


def _ipv4(program: _Program, taken: Taken) -> None:
    ip = _LINK_HEADER
    program.expect(_LOAD_BYTE, ip, 0x45)
    program.expect(_LOAD_BYTE, ip + 9, _UDP)
    program.add(_LOAD_HALF, _VALUE, _PACKET, ip + 6)
    program.add(_AND_NUMBER, _VALUE, number=_half(_FRAGMENT))
    program.jump(_JUMP_UNLESS_NUMBER, "pass", _VALUE)
    program.expect(_LOAD_HALF, ip + _IPV4_HEADER + 2, _half(taken.port))
    _none_of(program, taken.mine, ip + 12, width=4)
    _one_of(program, taken.addresses, ip + 16, width=4)


def _ipv6(program: _Program, taken: Taken) -> None:
    ip = _LINK_HEADER
    program.reach(ip + _IPV6_HEADER + _UDP_HEADER)
    program.add(_LOAD_BYTE, _VALUE, _PACKET, ip)
    program.add(_AND_NUMBER, _VALUE, number=0xF0)
    program.jump(_JUMP_UNLESS_NUMBER, "pass", _VALUE, number=0x60)
    # Extension headers, of which a fragment has one, stand in place of UDP.
    program.expect(_LOAD_BYTE, ip + 6, _UDP)
    program.expect(_LOAD_HALF, ip + _IPV6_HEADER + 2, _half(taken.port))
    _none_of(program, taken.mine, ip + 8, width=16)
    _one_of(program, taken.addresses, ip + 24, width=16)


def _one_of(program: _Program, addresses: Sequence[bytes], at: int, *, width: int) -> None:
    """Takes a packet that has one of the addresses of this width there, passes on all others."""
    _jump_if_one_of(program, addresses, at, width, "take")
    program.jump(_JUMP, "pass")


def _none_of(program: _Program, addresses: Sequence[bytes], at: int, *, width: int) -> None:
    """Passes on a packet that has one of the addresses of this width there."""
    _jump_if_one_of(program, addresses, at, width, "pass")


def _jump_if_one_of(
    program: _Program, addresses: Sequence[bytes], at: int, width: int, to: str
) -> None:
    for address in addresses:
        if len(address) == width:
            other = f"no {to} of {address.hex()}"
            for word, (value,) in enumerate(struct.iter_unpack("=i", address)):
                program.expect(_LOAD_WORD, at + 4 * word, value, other)
            program.jump(_JUMP, to)
            program.label(other)


def _endings(program: _Program, sockets: int) -> None:
    if "take" in (name for _, name in program.jumps):
        program.label("take")
        program.add(_LOAD_WORD, _R2, _CONTEXT, _QUEUE)
        program.add(_LOAD_MAP, _CONTEXT, _PSEUDO_MAP_FD, number=sockets)
        program.add(0)
        program.add(_MOVE_NUMBER, _R3, number=_XDP_PASS)
        program.add(_CALL, number=_REDIRECT_MAP)
        program.add(_EXIT)
    program.label("pass")
    program.add(_MOVE_NUMBER, _R0, number=_XDP_PASS)
    program.add(_EXIT)


def _half(value: int) -> int:
    """16 bits in the network's order, as the machine reads them."""
    return socket.htons(value)
