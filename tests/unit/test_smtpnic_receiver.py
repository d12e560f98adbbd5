"""lookup: DNS asked as a receiver asks it, against servers that answer as the test says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.finding import Finding
from registry.address import Address
from smtpnic.cli import main
from smtpnic.receiver import ask, parse_server

ADDRESS = Address.parse("192.0.2.36")
NAME = "192-0-2-36.smtpnic.org."
TEXT = "v=smtpnic1; status=new; host=mx.example.org"

Answering = Callable[[dns.message.Message, bool], dns.message.Message]


def registered(query: dns.message.Message, over_tcp: bool) -> dns.message.Message:
    response = dns.message.make_response(query)
    (question,) = query.question
    values = {dns.rdatatype.A: "192.0.2.36", dns.rdatatype.TXT: f'"{TEXT[:20]}" "{TEXT[20:]}"'}
    if question.rdtype in values and str(question.name) == NAME:
        rdtype = dns.rdatatype.to_text(question.rdtype)
        response.answer.append(
            dns.rrset.from_text(question.name, 300, "IN", rdtype, values[question.rdtype])
        )
    return response


def with_rcode(code: dns.rcode.Rcode) -> Answering:
    def answer(query: dns.message.Message, over_tcp: bool) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response

    return answer


def never_loaded(query: dns.message.Message, over_tcp: bool) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    option = dns.edns.EDEOption(dns.edns.EDECode.NOT_READY, "no table\x1b[31m yet")
    response.use_edns(0, options=[option])
    return response


def another_address(query: dns.message.Message, over_tcp: bool) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text(NAME, 300, "IN", "A", "198.51.100.1"))
    return response


def only_over_tcp(query: dns.message.Message, over_tcp: bool) -> dns.message.Message:
    if over_tcp:
        return registered(query, over_tcp)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response


@contextmanager
def dns_server(answer: Answering) -> Iterator[Endpoint]:
    """Answers over UDP and TCP on one free loopback port."""
    udp, tcp = _bound_sockets()
    with udp, tcp:
        tcp.listen()
        threads = [
            threading.Thread(target=_serve_udp, args=(udp, answer)),
            threading.Thread(target=_serve_tcp, args=(tcp, answer)),
        ]
        for thread in threads:
            thread.start()
        host, port = udp.getsockname()
        try:
            yield Endpoint(host, port)
        finally:
            udp.sendto(b"", (host, port))
            with suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def _bound_sockets() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port, which others may hold for one of the two."""
    while True:
        udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        try:
            udp.bind(("127.0.0.1", 0))
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp


def _serve_udp(udp: socket.socket, answer: Answering) -> None:
    while True:
        data, peer = udp.recvfrom(4096)
        if not data:
            return
        udp.sendto(answer(dns.message.from_wire(data), False).to_wire(), peer)


def _serve_tcp(tcp: socket.socket, answer: Answering) -> None:
    with suppress(OSError):
        while True:
            connection, _ = tcp.accept()
            with connection, connection.makefile("rb") as stream:
                query = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2))))
                wire = answer(query, True).to_wire()
                connection.sendall(len(wire).to_bytes(2) + wire)


@pytest.mark.parametrize(
    ("answer", "finding", "detail"),
    [
        (registered, Finding.REGISTERED, ""),
        (only_over_tcp, Finding.REGISTERED, ""),
        (with_rcode(dns.rcode.NXDOMAIN), Finding.NOT_REGISTERED, ""),
        (with_rcode(dns.rcode.NOERROR), Finding.NOT_REGISTERED, "without an address"),
        (with_rcode(dns.rcode.SERVFAIL), Finding.FAILURE, "SERVFAIL"),
        (with_rcode(dns.rcode.REFUSED), Finding.FAILURE, "REFUSED"),
        (never_loaded, Finding.FAILURE, "SERVFAIL, EDE 14 (no table"),
        (another_address, Finding.FAILURE, "the answer is 198.51.100.1"),
    ],
)
def test_what_a_receiver_would_conclude(answer: Answering, finding: Finding, detail: str) -> None:
    """A failure, a lie included, is never an answer; TC is asked again over TCP."""
    with dns_server(answer) as server:
        found = ask(server, ADDRESS, "smtpnic.org", 5)
    assert (found.name, found.finding) == (NAME, finding)
    assert detail in found.detail
    assert found.texts == ((TEXT,) if finding is Finding.REGISTERED else ())


def test_silence_is_a_failure() -> None:
    """So is a port that nobody listens on, and an answer that is no DNS."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = Endpoint(*silent.getsockname())
        assert "no answer within 0.1 s" in ask(server, ADDRESS, "smtpnic.org", 0.1).detail
    assert ask(server, ADDRESS, "smtpnic.org", 0.2).finding is Finding.FAILURE


def test_the_exit_code_tells_the_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """0 registered, 1 not registered, 4 when some server fails; servers are shown in order."""

    def run(*servers: Endpoint) -> tuple[int, Any]:
        options = [part for server in servers for part in ("--server", str(server))]
        code = main(["lookup", str(ADDRESS), *options, "--json"])
        return code, json.loads(capsys.readouterr().out)["answers"]

    with (
        dns_server(registered) as good,
        dns_server(with_rcode(dns.rcode.NXDOMAIN)) as absent,
        dns_server(never_loaded) as failing,
    ):
        assert run(good)[0] == 0
        assert run(good, absent)[0] == 1
        code, answers = run(absent, failing, good)
    assert code == 4
    assert [answer["server"] for answer in answers] == [str(absent), str(failing), str(good)]
    assert [answer["finding"] for answer in answers] == ["not registered", "failure", "registered"]


def test_what_a_server_says_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Escape sequences in an EDE text are not passed on."""
    with dns_server(never_loaded) as server:
        main(["lookup", str(ADDRESS), "--server", str(server)])
    shown = capsys.readouterr().out
    assert "no table" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", Endpoint("192.0.2.1", 53)),
        ("192.0.2.1:5353", Endpoint("192.0.2.1", 5353)),
        ("2001:DB8::1", Endpoint("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Endpoint("2001:db8::1", 5353)),
    ],
)
def test_a_server_is_an_address_with_or_without_a_port(text: str, server: Endpoint) -> None:
    """Port 53 if none is given."""
    assert parse_server(text) == server


@pytest.mark.parametrize("text", ["", "ns.example.org", "192.0.2.1:", "192.0.2.1:0x1", "a:53"])
def test_anything_else_is_no_server(text: str) -> None:
    """A name would need a resolver first."""
    with pytest.raises(ConfigurationError, match="no DNS server"):
        parse_server(text)
