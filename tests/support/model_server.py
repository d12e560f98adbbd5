"""A small authoritative server that does all that dns-check asks, and, on request, one thing wrong.

Made with dnspython, apart from the registry's own server: what both misunderstood alike would
not be found.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from registry.address import Address
from registry.label import dashed, reversed_name

ZONE = dns.name.from_text("smtpnic.example.")
LIST_ZONE = dns.name.from_text("list.smtpnic.example.")
UNLISTED_ZONE = dns.name.from_text("unlisted.smtpnic.example.")
REGISTERED = Address.parse("203.0.113.25")
SERVER_COOKIE_HASH = b"dnscheck"

Records = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]


@dataclass
class Model:
    """What it serves, and how; a fault replaces a part."""

    records: Records = field(default_factory=dict)
    # Changes an answer before it is put into bytes, or after.
    amend: Callable[[dns.message.Message, dns.message.Message, str], None] = lambda *_: None
    amend_bytes: Callable[[bytes, bytes, str], bytes | None] = lambda _query, answer, _how: answer
    # What is said in place of an answer, before anything is looked at.
    intercept: Callable[[bytes, str], bytes | None] = lambda *_: None
    refused_because: dns.edns.EDECode = dns.edns.EDECode.NOT_AUTHORITATIVE
    truncates: bool = True
    queries_a_connection: int = 1 << 16
    queries_a_segment: int = 1 << 16
    needs_whole_segments: bool = False
    # How often in a row the same question is answered over UDP, and what is said beyond that.
    answers_in_a_row: int = 1 << 16
    beyond: Callable[[bytes, bytes], bytes | None] = lambda query, _answer: cut(query)
    exempts_cookies: bool = True
    # What a TCP connection may take, and how many are served at once.
    idle_seconds: float = 0.3
    query_seconds: float = 1.0
    connections_served: int = 1 << 16
    _asked_last: tuple[bytes, int] = (b"", 0)

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to send; None for silence."""
        answer = self._answer(wire, transport)
        if answer is None or transport != "udp":
            return answer
        last, times = self._asked_last
        self._asked_last = wire[2:], times + 1 if last == wire[2:] else 1
        is_known = self.exempts_cookies and SERVER_COOKIE_HASH in wire
        is_within = self._asked_last[1] <= self.answers_in_a_row
        return answer if is_within or is_known else self.beyond(wire, answer)

    def _answer(self, wire: bytes, transport: str) -> bytes | None:
        said = self.intercept(wire, transport)
        if said is not None:
            return said
        if len(wire) < 12 or wire[2] & 0x80:
            return None
        opcode = wire[2] >> 3 & 0xF
        if opcode != 0:
            return bare(wire, dns.rcode.NOTIMP)
        if wire[4:6] != b"\0\1":
            return self._give_cookie(wire)
        try:
            query = dns.message.from_wire(wire)
            cookie = cookie_of(query)
        except (dns.exception.DNSException, ValueError):
            return bare(wire, dns.rcode.FORMERR)
        response = dns.message.make_response(query, our_payload=1232)
        response.flags &= ~dns.flags.RA
        self._decide(query, response)
        self._settle_edns(query, response, cookie)
        self.amend(query, response, transport)
        return self.amend_bytes(wire, self._pack(query, response, transport), transport)

    def _give_cookie(self, wire: bytes) -> bytes:
        """For a cookie without a question (RFC 7873, 5.4); FORMERR for all else."""
        try:
            query = dns.message.from_wire(wire)
            cookie = cookie_of(query)
        except (dns.exception.DNSException, ValueError):
            return bare(wire, dns.rcode.FORMERR)
        if query.question or not cookie:
            return bare(wire, dns.rcode.FORMERR)
        response = dns.message.Message(id=query.id)
        response.flags = dns.flags.QR
        self._settle_edns(query, response, cookie)
        return response.to_wire()

    def _pack(self, query: dns.message.Message, response: dns.message.Message, how: str) -> bytes:
        limit = 65535
        if how == "udp":
            limit = min(max(query.payload, 512), 1232) if query.edns >= 0 else 512
        wire = response.to_wire(max_size=65535)
        if len(wire) > limit and self.truncates:
            response.answer, response.authority = [], []
            response.flags |= dns.flags.TC
            wire = response.to_wire(max_size=65535)
        if len(wire) > limit:
            response.answer = []
            wire = response.to_wire(max_size=65535)
        return wire

    def _settle_edns(
        self, query: dns.message.Message, response: dns.message.Message, cookie: bytes
    ) -> None:
        if query.edns < 0:
            response.use_edns(False)
            return
        options: list[dns.edns.Option] = []
        if cookie:
            server = struct.pack("!B3xI8s", 1, int(time.time()), SERVER_COOKIE_HASH)
            options.append(dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie[:8] + server))
        if response.rcode() == dns.rcode.REFUSED and query.question:
            options.append(dns.edns.EDEOption(self.refused_because))
        flags = query.ednsflags & dns.flags.DO
        rcode = response.rcode()
        response.use_edns(0, flags, 1232, options=options)
        response.set_rcode(rcode)

    def _decide(self, query: dns.message.Message, response: dns.message.Message) -> None:
        (question,) = query.question
        name, type_ = question.name, question.rdtype
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
            return
        zones = (LIST_ZONE, UNLISTED_ZONE, ZONE)
        zone = next((zone for zone in zones if name.is_subdomain(zone)), None)
        refused = zone is None or question.rdclass != dns.rdataclass.IN
        if refused or type_ in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
            response.set_rcode(dns.rcode.REFUSED)
            return
        assert zone is not None
        response.flags |= dns.flags.AA
        if zone == UNLISTED_ZONE and self._synthesise(name, response, type_):
            return
        found = self.records.get((name, type_))
        if type_ == dns.rdatatype.ANY:
            found = next(
                (rrset for (owner, _), rrset in self.records.items() if owner == name), None
            )
        if found is not None:
            response.answer.append(found)
            return
        if not any(owner.is_subdomain(name) for owner, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(self.records[zone, dns.rdatatype.SOA])

    def _synthesise(
        self, name: dns.name.Name, response: dns.message.Message, type_: dns.rdatatype.RdataType
    ) -> bool:
        hardly_registered = ("198.41.0.4", "2001:503:ba3e::2:30")
        names = [below(reversed_name(Address.parse(t)), UNLISTED_ZONE) for t in hardly_registered]
        if name in names and type_ == dns.rdatatype.A:
            response.answer.append(rrset_of(name, 300, "A", "127.0.0.2"))
            return True
        return False


def new_model() -> Model:
    """A server without fault."""
    records: Records = {}

    def add(name: dns.name.Name, ttl: int, type_: str, *texts: str) -> None:
        records[name, dns.rdatatype.from_text(type_)] = rrset_of(name, ttl, type_, *texts)

    for zone in (ZONE, LIST_ZONE, UNLISTED_ZONE):
        add(zone, 60, "SOA", "a.ns.nic.example. hostmaster.nic.example. 7 3600 600 1209600 60")
        add(zone, 300, "NS", "a.ns.nic.example.", "b.ns.nic.example.")
    add(ZONE, 300, "CAA", '0 issue ";"')
    add(ZONE, 300, "TXT", " ".join(f'"{letter * 200}"' for letter in "abc"))
    own = below(dashed(REGISTERED), ZONE)
    add(own, 300, "A", str(REGISTERED))
    add(own, 300, "TXT", '"v=smtpnic1; since=2026-11-23; status=new; host=mx.example.org"')
    for address in (REGISTERED, *map(Address.parse, ("127.0.0.2", "::ffff:127.0.0.2"))):
        add(below(reversed_name(address), LIST_ZONE), 300, "A", "127.0.0.2")
    return Model(records)


def below(text: str, zone: dns.name.Name) -> dns.name.Name:
    """The name `text` in a zone."""
    return dns.name.from_text(text, zone)


def rrset_of(name: dns.name.Name, ttl: int, type_: str, *texts: str) -> dns.rrset.RRset:
    """A record set from text."""
    return dns.rrset.from_text(name, ttl, "IN", type_, *texts)


def bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A header alone that answers `wire`."""
    flags = struct.pack("!BB", 0x80 | wire[2] & 0x79, int(rcode))
    return wire[:2] + flags + bytes(8)


def cut(wire: bytes) -> bytes:
    """TC and the question alone, in answer to `wire`."""
    return wire[:2] + b"\x86\0\0\1" + bytes(6) + wire[12 : wire.index(0, 12) + 5]


def cookie_of(query: dns.message.Message) -> bytes:
    """The COOKIE option; ValueError where its length is wrong (RFC 7873, 5.2.2)."""
    for option in query.options:
        if option.otype == dns.edns.OptionType.COOKIE:
            cookie = option.to_wire() or b""
            if len(cookie) != 8 and not 16 <= len(cookie) <= 40:
                raise ValueError("cookie length")
            return cookie
    return b""


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _UdpServer

    def handle(self) -> None:
        wire, client = self.request
        answer = self.server.model.answer(wire, "udp")
        if answer is not None:
            client.sendto(answer, self.client_address)


class _TcpHandler(socketserver.BaseRequestHandler):
    server: _TcpServer
    request: socket.socket

    def handle(self) -> None:
        with self.server.one_more() as count:
            if count > self.server.model.connections_served:
                # In silence, until the client goes.
                while self.request.recv(65535):
                    continue
                return
            self._serve()

    def _serve(self) -> None:
        model, received, answered = self.server.model, b"", 0
        began = time.monotonic()
        while answered < model.queries_a_connection:
            seconds = model.idle_seconds
            if received:
                left = began + model.query_seconds - time.monotonic()
                seconds = min(seconds, max(left, 0.001))
            self.request.settimeout(seconds)
            try:
                part = self.request.recv(65535)
            except OSError:
                return
            if not part:
                return
            if not received:
                began = time.monotonic()
            received += part
            taken = 0
            while (query := _first(received)) is not None:
                received = received[2 + len(query) :]
                taken += 1
                if taken > model.queries_a_segment:
                    continue
                answer = model.answer(query, "tcp")
                if answer is None:
                    return
                self.request.sendall(struct.pack("!H", len(answer)) + answer)
                answered += 1
                if answered == model.queries_a_connection:
                    return
            if received and model.needs_whole_segments:
                return


def _first(received: bytes) -> bytes | None:
    if len(received) < 2:
        return None
    end = 2 + int.from_bytes(received[:2], "big")
    return received[2:end] if len(received) >= end else None


class _UdpServer(socketserver.UDPServer):
    max_packet_size = 65535

    def __init__(self, address: tuple[str, int], model: Model) -> None:
        self.model = model
        super().__init__(address, _UdpHandler)


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: Model) -> None:
        self.model = model
        self._open = 0
        self._lock = threading.Lock()
        super().__init__(address, _TcpHandler)

    @contextmanager
    def one_more(self) -> Iterator[int]:
        """How many connections are open with this one."""
        with self._lock:
            self._open += 1
            count = self._open
        try:
            yield count
        finally:
            with self._lock:
                self._open -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is none."""


@contextmanager
def serving_model(model: Model) -> Iterator[Endpoint]:
    """Where the model answers, UDP and TCP."""
    with _UdpServer((f"{loopback_network()}.1", 0), model) as udp:
        address = udp.server_address
        with _TcpServer((str(address[0]), int(address[1])), model) as tcp:
            threads = [
                threading.Thread(target=server.serve_forever, args=(0.02,)) for server in (udp, tcp)
            ]
            for thread in threads:
                thread.start()
            try:
                yield Endpoint(str(address[0]), int(address[1]))
            finally:
                udp.shutdown()
                tcp.shutdown()
                for thread in threads:
                    thread.join()
