"""A resolver that can be made to fail: it passes questions on to a name server, or does worse."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from threading import Thread
from types import TracebackType
from typing import Final, Self

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

MAX_MESSAGE_BYTES: Final = 65535
FORWARD_SECONDS: Final = 2.0
# What providers put in the place of NXDOMAIN, to show advertisements.
LIE_IPV4: Final = "203.0.113.80"
LIE_IPV6: Final = "2001:db8::80"


class Fault(StrEnum):
    """What the resolver does with questions about the registry's names."""

    NONE = "none"
    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    TIMEOUT = "timeout"
    NODATA = "NODATA"
    LIE = "lie"


class SwitchedResolver:
    """Answers UDP on `address`, port 53; a context manager.

    Names below `zone` are asked of `server`, unless there is a fault; a mail exchanger is known
    for `sender.example`, and of every other name that it does not exist.
    """

    def __init__(self, address: str, zone: str, server: tuple[str, int]) -> None:
        self._zone = dns.name.from_text(zone)
        self._server = server
        self._fault = Fault.NONE
        self.questions: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._thread = Thread(target=self._serve, daemon=True)

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Within the block, the registry's names meet this fault."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = Fault.NONE

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self._socket.recvfrom(MAX_MESSAGE_BYTES)
                answer = self._answer(data)
                if answer is not None:
                    self._socket.sendto(answer, peer)
            except OSError:
                return

    def _answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        if not question.name.is_subdomain(self._zone):
            return self._other(query, question).to_wire()
        self.questions.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        match self._fault:
            case Fault.NONE:
                return self._forwarded(data)
            case Fault.TIMEOUT:
                return None
            case Fault.LIE:
                return self._lie(query, question, self._forwarded(data)).to_wire()
            case fault:
                response = _response(query)
                if fault is not Fault.NODATA:
                    response.set_rcode(dns.rcode.from_text(fault))
                return response.to_wire()

    def _forwarded(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(FORWARD_SECONDS)
            upstream.sendto(data, self._server)
            try:
                return upstream.recv(MAX_MESSAGE_BYTES)
            except TimeoutError:
                response = _response(dns.message.from_wire(data))
                response.set_rcode(dns.rcode.SERVFAIL)
                return response.to_wire()

    def _lie(
        self, query: dns.message.Message, question: dns.rrset.RRset, truth: bytes
    ) -> dns.message.Message:
        """An address in the place of every "no such name", as some providers do."""
        honest = dns.message.from_wire(truth)
        lies = {dns.rdatatype.A: LIE_IPV4, dns.rdatatype.AAAA: LIE_IPV6}
        if honest.rcode() != dns.rcode.NXDOMAIN or question.rdtype not in lies:
            return honest
        response = _response(query)
        response.answer = [
            dns.rrset.from_text(question.name, 60, "IN", question.rdtype, lies[question.rdtype])
        ]
        return response

    def _other(self, query: dns.message.Message, question: dns.rrset.RRset) -> dns.message.Message:
        response = _response(query)
        known = {
            ("sender.example.", dns.rdatatype.MX): "10 mail.sender.example.",
            ("mail.sender.example.", dns.rdatatype.A): "192.0.2.1",
        }
        value = known.get((question.name.to_text().lower(), question.rdtype))
        if value is not None:
            response.answer = [dns.rrset.from_text(question.name, 60, "IN", question.rdtype, value)]
        elif not any(name == question.name.to_text().lower() for name, _ in known):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.RA
    return response
