"""What fuzzing asks of the AF_XDP front; tests ask again what it found.

The front itself is a module that `tests/fuzz/setup.py` builds, on a kernel that is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final, NamedTuple

from secondary.dns.batched_udp import FastAnswers
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.cookies import ServerCookies
from secondary.dns.counters import AnswerCounter
from secondary.dns.rate_limit import RateLimiter
from secondary.dns.reply import Transport
from secondary.dns.server import LimitedAnswers
from tests.support.fast_path import LIMITER_KEY, LISTED_ADDRESSES, SECRETS, UNLIMITED
from tests.support.framed_server import FRAMED_PORT
from tests.support.frames import (
    ETHERNET_IPV4,
    ETHERNET_IPV6,
    IPV4,
    IPV6,
    LINK_BYTES,
    UDP,
    Reader,
    added,
    checksum,
    datagram,
    with_sum,
)
from tests.support.responding import four_zones, make_responder
from tests.support.views import put_registration, registration, standing

MAX_FRAME_BYTES: Final = LINK_BYTES + 1500
# More than a batch of the front, fewer than it has memory for.
MAX_FRAMES: Final = 200
# What is answered; around the longest that fits behind the headers of IPv6 and of IPv4.
ANSWER_BYTES: Final = (0, 12, 512, 1232, 1452, 1453, 1472, 1473)
# In the first byte of an input, beside three bits that choose among these.
WITH_TABLE, FILTERED = 1, 16
# In the first byte before a frame: what its checksums are made.
IP_SUM, UDP_SUM = 1, 2
_HEAD: Final = struct.Struct("!BH")
_UDP: Final = 17
_DONT_FRAGMENT, _FRAGMENT = 0x4000, 0x3FFF
_HOPS: Final = 64


class Asked(NamedTuple):
    """What a frame was taken for: a query, and the packed address of its client."""

    payload: bytes
    client: bytes


def load(built: Path) -> Any:
    """The module below a directory that it was built into."""
    (path,) = built.glob("fuzzed_frames.*.so")
    spec = spec_from_file_location("fuzzed_frames", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FrameFuzzing:
    """One front, which is given input after input."""

    def __init__(self, module: Any) -> None:
        self._served = table = CompiledTable()
        for number, address in enumerate(LISTED_ADDRESSES):
            put_registration(table, address, registration(host=f"mail{number}.example.org"))
        table.advance(standing())
        self._table: CompiledTable | None = None
        self._answer = b""
        self._asked: list[Asked] = []
        self._counter = AnswerCounter(Transport.UDP)
        responder = make_responder(table, zones=four_zones(), cookies=ServerCookies(SECRETS))
        answers = LimitedAnswers(responder, RateLimiter(UNLIMITED, LIMITER_KEY))
        fast = FastAnswers.before(answers, lambda: self._table, threads=1)
        self._frames = module.FrameSocket(0, 0)
        self._listener = module.FuzzedListener(
            self._frames.fd, fast.path, fast.table, self._ask, self._counter, fast.limited
        )

    def check(self, data: bytes) -> None:
        """The first byte says how it is answered; the rest are frames, as `frames_in` reads them.

        With a table, the fast path answers out of the memory of frames, and this where it
        declines. Without one this answers all, and so sees what each frame was taken for.
        """
        mode = data[0] if data else 0
        self._table = self._served if mode & WITH_TABLE else None
        self._answer = bytes(ANSWER_BYTES[mode >> 1 & 7])
        self._asked.clear()
        came = list(frames_in(data[1:]))
        if mode & FILTERED:
            came = [frame for frame in came if passes_filter(frame)]
        sent = self._listener.exchange(self._frames, came)
        assert self._counter.failed == 0
        if self._table is None:
            self._check_asked(came, sent)
        for answer in sent:
            assert any(self._is_answer(answer, frame) for frame in came), answer.hex()

    def _ask(self, wire: bytes, _transport: Transport, client: bytes) -> bytes | None:
        self._asked.append(Asked(wire, client))
        return self._answer or None

    def _check_asked(self, came: list[bytes], sent: list[bytes]) -> None:
        """Who reads by the book what the filter lets through finds the same; all that fits is
        sent, in the order in which it came."""
        if all(passes_filter(frame) for frame in came):
            assert [asked for frame in came if (asked := by_the_book(frame))] == self._asked
        fitting = [
            asked.client
            for asked in self._asked
            if self._answer and _headers(asked.client) + len(self._answer) <= 1500
        ]
        assert fitting == [_target(answer) for answer in sent]

    def _is_answer(self, answer: bytes, frame: bytes) -> bool:
        """Whether these bytes go back to where a frame came from, as RFC 791, 8200 and 768 ask."""
        ip, udp = _parts(frame)
        if len(udp) < UDP.size:
            return False
        source, target = _ends(ip)
        client, server, _, _ = UDP.unpack_from(udp)
        _, answer_udp = _parts(answer)
        payload = answer_udp[UDP.size :]
        if payload != self._answer and payload[:2] != udp[UDP.size : UDP.size + 2]:
            return False
        back = datagram(payload, target + source, port=server, target=client)
        if len(source) == 4:
            size = IPV4.size + len(back)
            header = IPV4.pack(ip[0], 0, size, 0, _DONT_FRAGMENT, _HOPS, _UDP, 0, target, source)
            # Zero, or as UDP has it all ones.
            if added(answer[LINK_BYTES:][: IPV4.size]) != 0xFFFF:
                return False
            header = header[:10] + answer[LINK_BYTES + 10 : LINK_BYTES + 12] + header[12:]
        else:
            # Of the next header's kind the filter makes sure.
            header = IPV6.pack(6 << 28, len(back), ip[6], _HOPS, target, source)
        return answer == frame[6:12] + frame[:6] + frame[12:14] + header + back


def frames_in(data: bytes) -> Iterator[bytes]:
    """Each after a byte of flags and its length; what is behind the last is cut off.

    Checksums, which no fuzzer finds, are made right where the flags say so.
    """
    at = 0
    for _ in range(MAX_FRAMES):
        if at + _HEAD.size > len(data):
            return
        flags, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        frame = data[at : at + min(size, MAX_FRAME_BYTES)]
        at += len(frame)
        yield with_sums(frame, flags)


def framed_input(mode: int, *frames: tuple[int, bytes]) -> bytes:
    """An input of frames, each with its flags."""
    return bytes([mode]) + b"".join(_HEAD.pack(flags, len(one)) + one for flags, one in frames)


def with_sums(frame: bytes, flags: int) -> bytes:
    """The frame with checksums made anew, where it is long enough to have them."""
    link, ip = frame[:LINK_BYTES], frame[LINK_BYTES:]
    is_ipv4 = _is_ipv4(frame)
    at = IPV4.size if is_ipv4 else IPV6.size
    if len(ip) < at + UDP.size:
        return frame
    udp = ip[at:]
    if flags & UDP_SUM:
        covered = udp[:6] + b"\0\0" + udp[8 : int.from_bytes(udp[4:6])]
        ends = b"".join(_ends(ip)) + struct.pack("!HH", len(covered), _UDP)
        udp = udp[:6] + (checksum(ends + covered) or 0xFFFF).to_bytes(2) + udp[8:]
    header = ip[:at]
    if flags & IP_SUM and is_ipv4:
        header = with_sum(header)
    return link + header + udp


def passes_filter(frame: bytes) -> bool:
    """Whether the XDP program would give such a frame to the front (`secondary.dns.xdp_filter`)."""
    shortest = LINK_BYTES + IPV4.size + UDP.size
    if not shortest <= len(frame) <= MAX_FRAME_BYTES or frame[6] & 1:
        return False
    ip = frame[LINK_BYTES:]
    if frame[12:LINK_BYTES] == ETHERNET_IPV4:
        if ip[0] != 0x45 or ip[9] != _UDP or int.from_bytes(ip[6:8]) & _FRAGMENT:
            return False
    elif frame[12:LINK_BYTES] == ETHERNET_IPV6:
        if len(ip) < IPV6.size + UDP.size or ip[0] >> 4 != 6 or ip[6] != _UDP:
            return False
    else:
        return False
    source, target = _ends(ip)
    return source != target and _parts(frame)[1][2:4] == FRAMED_PORT.to_bytes(2)


def by_the_book(frame: bytes) -> Asked | None:
    """What a host makes of a frame that passed the filter."""
    source, target = _ends(frame[LINK_BYTES:])
    payload = Reader((target,)).payload(frame)
    return None if payload is None else Asked(payload, source)


def _is_ipv4(frame: bytes) -> bool:
    return len(frame) > LINK_BYTES and frame[LINK_BYTES] >> 4 == 4


def _parts(frame: bytes) -> tuple[bytes, bytes]:
    """The IP packet, and the datagram behind a header of the usual length."""
    ip = frame[LINK_BYTES:]
    return ip, ip[IPV4.size if _is_ipv4(frame) else IPV6.size :]


def _ends(ip: bytes) -> tuple[bytes, bytes]:
    """Source and target."""
    return (ip[12:16], ip[16:20]) if ip[0] >> 4 == 4 else (ip[8:24], ip[24:40])


def _target(answer: bytes) -> bytes:
    return _ends(answer[LINK_BYTES:])[1]


def _headers(client: bytes) -> int:
    return UDP.size + (IPV4.size if len(client) == 4 else IPV6.size)
