"""The benchmarks' own gRPC client: its frames, and what it makes of a server's."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench import http2
from bench.http2 import CallError, Target, UnaryConnection, frame
from tests.support.unary_server import echo, serve_unary

SECONDS = 10.0
TARGET = Target("localhost", 443, "/test.Echo/Call", None)
# RFC 7541, Appendix A: `:status: 200` is entry 8 of the static table.
STATUS_200 = b"\x88"
PADDED = 0x8


def message(value: bytes) -> bytes:
    """A message as gRPC frames it, uncompressed."""
    return b"\x00" + len(value).to_bytes(4) + value


def answer(value: bytes, stream: int = 1) -> bytes:
    """A server's whole answer: headers, data, trailers."""
    return (
        frame(http2.HEADERS, http2.END_HEADERS, stream, STATUS_200)
        + frame(http2.DATA, 0, stream, message(value))
        + frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, b"\xbf")
    )


def call(connection: UnaryConnection, value: bytes) -> bytes:
    """One call, waited for."""
    connection.start(value)
    while True:
        assert select.select([connection.socket], [], [], SECONDS)[0], "no answer"
        found = connection.finish()
        if found is not None:
            return found


class Peer:
    """The server's end of a connection, which says what a test tells it to."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def sent(self) -> list[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of the frames that the client sent since."""
        data = self.end.recv(1 << 20).removeprefix(http2.PREFACE)
        frames = []
        while data:
            size = int.from_bytes(data[:3])
            kind, flags, stream = struct.unpack(">BBI", data[3:9])
            frames.append((kind, flags, stream, data[9 : 9 + size]))
            data = data[9 + size :]
        return frames


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """The peer of the test's one connection."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(http2, "_connect", lambda _target: ours)
    with ours, theirs:
        theirs.settimeout(SECONDS)
        yield Peer(theirs)


@pytest.fixture
def pair(peer: Peer) -> tuple[UnaryConnection, Peer]:
    """A client without TLS, and its peer."""
    return UnaryConnection(TARGET), peer


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (frame(http2.SETTINGS, http2.ACK, 0, b""), "000000 04 01 00000000"),
        (frame(http2.DATA, http2.END_STREAM, 3, b"abc"), "000003 00 01 00000003 616263"),
        (frame(http2.WINDOW_UPDATE, 0, 0, bytes(4)), "000004 08 00 00000000 00000000"),
        (frame(http2.HEADERS, http2.END_HEADERS, 2**31 - 1, b"\x88"), "000001 01 04 7fffffff 88"),
    ],
)
def test_a_frame_is_laid_out_as_rfc_9113_has_it(found: bytes, expected: str) -> None:
    """24 bits of length, type, flags, a reserved bit, 31 bits of stream, payload (4.1)."""
    assert bytes.fromhex(expected) == found


def test_a_long_frame_tells_its_length() -> None:
    """In all three octets, the highest first."""
    found = frame(http2.DATA, 0, 1, bytes(0x012345))
    assert (b"\x01\x23\x45", 9 + 0x012345) == (found[:3], len(found))


def test_a_connection_begins_with_preface_and_settings(peer: Peer) -> None:
    """They open both windows as far as they go, so that answers never wait (3.4, 6.9.2)."""
    UnaryConnection(TARGET)
    expected = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + bytes.fromhex("000006 04 00 00000000 0004 7fffffff")
        + bytes.fromhex("000004 08 00 00000000 7fff0000")
    )
    assert expected == peer.end.recv(1000)


def test_a_call_is_headers_and_one_data_frame(pair: tuple[UnaryConnection, Peer]) -> None:
    """On odd streams, one after another (5.1.1)."""
    client, peer = pair
    peer.sent()
    client.start(b"first")
    (first, data) = peer.sent()
    assert (http2.HEADERS, http2.END_HEADERS, 1) == first[:3]
    assert (http2.DATA, http2.END_STREAM, 1, message(b"first")) == data
    peer.end.sendall(answer(b"1"))
    assert b"1" == client.finish()
    client.start(b"")
    (second, data) = peer.sent()
    assert (http2.HEADERS, http2.END_HEADERS, 3) == second[:3]
    assert (http2.DATA, http2.END_STREAM, 3, message(b"")) == data


@pytest.mark.parametrize(("authority", "scheme"), [(None, b"\x86"), (Path("ca.pem"), b"\x87")])
def test_headers_are_coded_as_rfc_7541_has_it(
    peer: Peer, authority: Path | None, scheme: bytes
) -> None:
    """The first call's go into the dynamic table, newest first, where later ones find them."""
    client = UnaryConnection(replace(TARGET, authority=authority))
    peer.sent()
    blocks = []
    for stream in (1, 3, 5):
        client.start(b"question")
        blocks.append(peer.sent()[0][3])
        peer.end.sendall(answer(b"answer", stream))
        assert b"answer" == client.finish()
    # :method POST is 3 in the static table, :path 4, :authority 1, content-type 31.
    first = b"\x83" + scheme
    first += b"\x44\x0f/test.Echo/Call" + b"\x41\x0dlocalhost:443"
    first += b"\x5f\x10application/grpc" + b"\x40\x02te\x08trailers"
    # The static table has 61 entries: te is now 62, content-type 63, :authority 64, :path 65.
    later = b"\x83" + scheme + bytes(0x80 | index for index in (65, 64, 63, 62))
    assert [first, later, later] == blocks


@pytest.mark.parametrize("step", [1, 2, 7, 10])
def test_frames_may_come_in_pieces(pair: tuple[UnaryConnection, Peer], step: int) -> None:
    """Wherever they are cut: nothing is the answer before the last octet is here."""
    client, peer = pair
    client.start(b"question")
    whole = frame(http2.SETTINGS, 0, 0, b"") + answer(b"the answer")
    for at in range(0, len(whole), step):
        assert client.finish() is None
        peer.end.sendall(whole[at : at + step])
    assert b"the answer" == client.finish()


def test_an_answer_may_take_several_data_frames(pair: tuple[UnaryConnection, Peer]) -> None:
    """They are one message, though the cut falls into its prefix."""
    client, peer = pair
    client.start(b"question")
    whole = message(b"the answer")
    parts = [whole[:3], whole[3:8], b"", whole[8:]]
    peer.end.sendall(
        frame(http2.HEADERS, http2.END_HEADERS, 1, STATUS_200)
        + b"".join(frame(http2.DATA, 0, 1, part) for part in parts)
        + frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, b"\xbf")
    )
    assert b"the answer" == client.finish()


def test_an_empty_message_is_an_answer(pair: tuple[UnaryConnection, Peer]) -> None:
    """A message of which every field has its default has no octets."""
    client, peer = pair
    client.start(b"question")
    peer.end.sendall(answer(b""))
    assert b"" == client.finish()


def test_settings_and_pings_are_acknowledged(pair: tuple[UnaryConnection, Peer]) -> None:
    """With the ping's own octets (6.5, 6.7); acknowledgements are not."""
    client, peer = pair
    peer.sent()
    peer.end.sendall(
        frame(http2.SETTINGS, 0, 0, bytes(6))
        + frame(http2.PING, 0, 0, b"12345678")
        + frame(http2.SETTINGS, http2.ACK, 0, b"")
        + frame(http2.PING, http2.ACK, 0, b"87654321")
    )
    assert client.finish() is None
    assert [
        (http2.SETTINGS, http2.ACK, 0, b""),
        (http2.PING, http2.ACK, 0, b"12345678"),
    ] == peer.sent()


def test_no_more_is_sent_than_the_window_holds(pair: tuple[UnaryConnection, Peer]) -> None:
    """65,535 octets of data on the connection, and what the server adds to them (6.9)."""
    client, peer = pair
    for stream in (1, 3):
        client.start(bytes(30_000))
        peer.end.sendall(answer(b"taken", stream))
        assert b"taken" == client.finish()
    peer.end.sendall(frame(http2.WINDOW_UPDATE, 0, 5, (1 << 20).to_bytes(4)))
    peer.end.sendall(frame(http2.WINDOW_UPDATE, 0, 0, (30_000).to_bytes(4)))
    assert client.finish() is None
    client.start(bytes(30_000))
    with pytest.raises(CallError, match="flow control"):
        client.start(bytes(30_000))


@pytest.mark.parametrize(
    "said",
    [
        frame(http2.RST_STREAM, 0, 1, (2).to_bytes(4)),
        frame(http2.GOAWAY, 0, 0, bytes(8)),
        # Trailers only: how gRPC refuses a call.
        frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, STATUS_200),
        frame(http2.DATA, http2.END_STREAM, 1, message(b"cut off")[:-1]),
        frame(http2.DATA, http2.END_STREAM, 1, message(b"one") + message(b"two")),
        frame(http2.DATA, http2.END_STREAM, 1, b"\x01\x00\x00\x00\x01z"),
        frame(http2.DATA, http2.END_STREAM | PADDED, 1, b"\x01" + message(b"padded") + b"\x00"),
    ],
)
def test_what_is_no_answer_is_an_error(pair: tuple[UnaryConnection, Peer], said: bytes) -> None:
    """The call reset, refused, cut off; two messages, a compressed one, one that is padded."""
    client, peer = pair
    client.start(b"question")
    peer.end.sendall(said)
    with pytest.raises(CallError):
        client.finish()


def test_a_connection_that_ends_is_an_error(pair: tuple[UnaryConnection, Peer]) -> None:
    """No loop waits for an answer that will not come."""
    client, peer = pair
    client.start(b"question")
    peer.sent()
    peer.end.shutdown(socket.SHUT_WR)
    with pytest.raises(CallError, match="closed"):
        client.finish()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param else None


def test_a_grpc_server_answers(tls_directory: Path | None) -> None:
    """Many calls on one connection, each its own answer; long ones come in many frames.

    Together they are more than a window holds, so the server's updates of it are heeded.
    """
    values = [b"", b"x", *(str(n).encode() * 500 for n in range(100)), bytes(60)]

    def longer(value: bytes, _context: Any) -> bytes:
        return value[::-1] + bytes(100_000)

    with serve_unary(longer, tls_directory) as target:
        connection = UnaryConnection(target)
        for value in values:
            assert value[::-1] + bytes(100_000) == call(connection, value)
        connection.close()


def test_a_refusal_of_a_grpc_server_is_an_error(tls_directory: Path | None) -> None:
    """An error status is no answer; the next call on the connection goes on."""

    def refuse(value: bytes, context: Any) -> bytes:
        if value == b"no":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "")
        return value

    with serve_unary(refuse, tls_directory) as target:
        connection = UnaryConnection(target)
        with pytest.raises(CallError, match="the call was refused"):
            call(connection, b"no")
        assert b"yes" == call(connection, b"yes")
        connection.close()


def test_a_method_that_is_not_there_is_an_error() -> None:
    """UNIMPLEMENTED has no message either."""
    with serve_unary(echo) as target:
        connection = UnaryConnection(replace(target, method="/test.Echo/Other"))
        with pytest.raises(CallError):
            call(connection, b"question")
        connection.close()


def test_a_server_of_another_authority_is_not_talked_to(tmp_path: Path) -> None:
    """TLS is checked as any client checks it."""
    theirs, others = tmp_path / "theirs", tmp_path / "others"
    theirs.mkdir()
    others.mkdir()
    with (
        serve_unary(echo, theirs) as target,
        serve_unary(echo, others) as other,
        pytest.raises(OSError, match="certificate"),
    ):
        UnaryConnection(replace(target, authority=other.authority))
