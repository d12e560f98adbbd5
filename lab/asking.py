"""Asks a secondary as its users do: DNS over UDP, WHOIS over TCP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from lab.process import LabError
from registry.address import Address
from registry.label import dashed

ASK_SECONDS = 1.0
POLL_SECONDS = 0.01
WHOIS_MAX_BYTES = 65536


def dns_name(address: str, zone: str) -> str:
    """The name at which `address` is registered."""
    return f"{dashed(Address.parse(address))}.{zone}"


def dns_answer(server: tuple[str, int], address: str, zone: str) -> str:
    """`registered`, or the answer's code (`NXDOMAIN`, `SERVFAIL`, ...), or `no answer`."""
    query = dns.message.make_query(dns_name(address, zone), dns.rdatatype.A)
    try:
        reply = dns.query.udp(query, server[0], timeout=ASK_SECONDS, port=server[1])
    except (dns.exception.DNSException, OSError):
        return "no answer"
    if reply.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(reply.rcode())
    texts = [item.to_text() for rrset in reply.answer for item in rrset]
    return "registered" if address in texts else "NODATA"


def whois_answer(server: tuple[str, int], question: str) -> str:
    """What the WHOIS server says (RFC 3912); empty when nothing answers."""
    received = b""
    try:
        with socket.create_connection(server, timeout=ASK_SECONDS) as connection:
            connection.sendall(question.encode() + b"\r\n")
            while len(received) < WHOIS_MAX_BYTES and (data := connection.recv(4096)):
                received += data
    except OSError:
        return ""
    return received.decode()


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until `condition` held; LabError naming `what` when it does not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise LabError(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started
