"""A small Internet on loopback: names with Knot and Unbound, mail servers, mailboxes."""

from __future__ import annotations

import email
import email.policy
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.update
from aiosmtpd.controller import Controller

from lab.cluster import loopback_network
from node.endpoint import Endpoint
from primary.registering.proof_records import (
    domain_record_name,
    holder_text,
    networks_of,
    pointer_name,
)
from registry.address import Address
from tests.support.wait import wait_until

SIGNED, UNSIGNED, REVERSE, BROKEN = "example.org", "example.net", "127.in-addr.arpa", "example.com"
# Of ::/32, where ::1 is.
REVERSE6 = "0.0.0.0.0.0.0.0.ip6.arpa"
ZONES = (SIGNED, UNSIGNED, REVERSE, REVERSE6)
PORT = 5300
SMTP_PORT = 2525
SECONDS = 30

_ZONE = """\
$ORIGIN {zone}.
$TTL 0
@ SOA ns.{zone}. hostmaster 1 3600 600 1209600 0
@ NS ns.{zone}.
ns A {address}
"""
_KNOT = """\
server:
  listen: {address}@{port}
  rundir: {directory}
database:
  storage: {directory}/db
acl:
  - id: anyone
    address: 127.0.0.0/8
    action: update
policy:
  - id: one
    single-type-signing: on
template:
  - id: default
    storage: {directory}
    acl: anyone
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
zone:
  - domain: {signed}
    dnssec-signing: on
    dnssec-policy: one
  - domain: {unsigned}
  - domain: {reverse}
  - domain: {reverse6}
"""
_UNBOUND = """\
server:
  interface: {address}
  port: {port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  aggressive-nsec: no
  infra-host-ttl: 1
  infra-keep-probing: yes
  module-config: "validator iterator"
  trust-anchor: "{anchor}"
  local-zone: "{reverse}." nodefault
  local-zone: "{local6}." nodefault
  domain-insecure: "{reverse}"
  domain-insecure: "{reverse6}"
  domain-insecure: "{unsigned}"
  domain-insecure: "{broken}"
remote-control:
  control-enable: no
{stubs}"""
_STUB = """\
stub-zone:
  name: "{zone}"
  stub-addr: {server}@{port}
"""


@dataclass
class Mailboxes:
    """A mail server that takes every letter; a context manager is around it."""

    endpoint: Endpoint
    letters: list[tuple[str, EmailMessage]] = field(default_factory=list)
    # What it answers instead; empty: it takes them.
    refusal: str = ""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        message = email.message_from_bytes(envelope.content, policy=email.policy.SMTPUTF8)
        assert isinstance(message, EmailMessage)
        self.letters += [(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 taken"

    def to(self, recipient: str) -> list[EmailMessage]:
        """The letters to a mailbox, the oldest first."""
        return [message for whom, message in self.letters if whom == recipient]

    def wait_letter(self, recipient: str, words: str = "", count: int = 1) -> EmailMessage:
        """The last letter to a mailbox with these words in it, once there are so many."""

        def found() -> list[EmailMessage]:
            return [one for one in self.to(recipient) if words in text_of(one)]

        wait_until(
            lambda: len(found()) >= count, seconds=SECONDS, what=f"a letter {words!r} {recipient}"
        )
        return found()[-1]


def text_of(message: EmailMessage) -> str:
    """Subject and body."""
    return f"{message['subject']}\n{message.get_content()}"


def token_in(message: EmailMessage) -> str:
    """What `smtpnic confirm` takes."""
    _, _, rest = text_of(message).partition("smtpnic confirm ")
    return rest.split()[0]


class Internet:
    """Names that tests put in place, and resolvers that know them."""

    def __init__(self, stack: ExitStack) -> None:
        self.network = loopback_network()
        self._stack = stack
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.authority = Endpoint(f"{self.network}.1", PORT)
        self._start_authority()
        self.resolvers = tuple(Endpoint(f"{self.network}.{number}", PORT) for number in (2, 3, 4))
        anchor = self._anchor()
        self._unbound = {server: self._start_resolver(server, anchor) for server in self.resolvers}
        self._next_host = 100
        self._greeting: dict[str, Controller] = {}
        stack.callback(self._end_greetings)

    def new_address(self) -> str:
        """An address that nobody has."""
        self._next_host += 1
        return f"{self.network}.{self._next_host}"

    def put(self, name: str, type_: str, *texts: str) -> None:
        """The name has these records of the type, and no others."""
        zone = next(zone for zone in ZONES if name.endswith(zone))
        change = dns.update.Update(zone)
        change.delete(name.removesuffix(zone).rstrip(".") or "@", type_)
        for text in texts:
            change.add(name.removesuffix(zone).rstrip(".") or "@", 0, type_, text)
        reply = dns.query.tcp(change, self.authority.host, port=PORT, timeout=SECONDS)
        assert reply.rcode() == dns.rcode.NOERROR, dns.rcode.to_text(reply.rcode())
        # Unbound keeps even a record without time to live until the second is over.
        for server in self._unbound:
            wait_until(
                lambda server=server: records(server, name, type_) == set(texts),  # type: ignore[misc]
                seconds=SECONDS,
                what=f"{name} {type_} {texts} at {server}",
            )

    def name(self, address: str, host: str) -> None:
        """PTR and forward lead to each other."""
        self.put(pointer_name(Address.parse(address)), "PTR", f"{host}.")
        self.put(host, "A" if Address.parse(address).family == 4 else "AAAA", address)

    def let_in(self, domain: str, *holders: bytes) -> None:
        """The domain's record names these holders."""
        texts = [f'"{holder_text(holder)}"' for holder in holders]
        self.put(domain_record_name(domain), "TXT", *texts)

    def let_in_network(self, address: str, holder: bytes) -> None:
        """The reverse zone of the address's /24 or /64 names the holder."""
        network = networks_of(Address.parse(address))[1]
        self.put(network.name, "TXT", f'"{holder_text(holder)}"')

    def stop_resolver(self, number: int) -> None:
        """One of the resolvers is no more."""
        process = self._unbound.pop(self.resolvers[number])
        process.terminate()
        process.wait(SECONDS)

    def greet(self, address: str, greeting: str) -> None:
        """A mail server at the address that greets so, in the place of the one before."""
        before = self._greeting.pop(address, None)
        if before is not None:
            before.stop()
        self._greeting[address] = _smtp(object(), Endpoint(address, SMTP_PORT), greeting)

    def _end_greetings(self) -> None:
        for server in self._greeting.values():
            server.stop()

    def mailboxes(self) -> Mailboxes:
        """A mail server for letters."""
        boxes = Mailboxes(Endpoint(self.new_address(), SMTP_PORT))
        server = _smtp(boxes, boxes.endpoint, "mailboxes")
        self._stack.callback(server.stop)
        return boxes

    def _start_authority(self) -> None:
        (self._directory / "db").mkdir()
        for zone in ZONES:
            text = _ZONE.format(zone=zone, address=self.authority.host)
            (self._directory / f"{zone}.zone").write_text(text)
        settings = _KNOT.format(
            address=self.authority.host,
            port=PORT,
            directory=self._directory,
            signed=SIGNED,
            unsigned=UNSIGNED,
            reverse=REVERSE,
            reverse6=REVERSE6,
        )
        self._start("knotd", self.authority, settings, [])

    def _start_resolver(self, server: Endpoint, anchor: str) -> subprocess.Popen[bytes]:
        # Nobody is at .9: what stands there fails.
        zones = [(zone, self.authority.host) for zone in ZONES]
        stubs = "".join(
            _STUB.format(zone=zone, server=host, port=PORT)
            for zone, host in [*zones, (BROKEN, f"{self.network}.9")]
        )
        settings = _UNBOUND.format(
            address=server.host,
            port=PORT,
            directory=self._directory,
            anchor=anchor,
            reverse=REVERSE,
            reverse6=REVERSE6,
            local6=pointer_name(Address.parse("::1")),
            unsigned=UNSIGNED,
            broken=BROKEN,
            stubs=stubs,
        )
        return self._start("unbound", server, settings, ["-d"])

    def _start(
        self, program: str, server: Endpoint, settings: str, options: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        file = self._directory / f"{program}-{server.host}"
        file.write_text(settings)
        path = shutil.which(program, path="/usr/sbin:/usr/bin")
        assert path is not None, f"{program} is not installed: make setup"
        log = self._stack.enter_context(file.with_name(f"{file.name}.log").open("wb"))
        process = subprocess.Popen([path, *options, "-c", str(file)], stdout=log, stderr=log)
        self._stack.callback(process.wait, SECONDS)
        self._stack.callback(process.terminate)
        try:
            wait_until(lambda: answers(server), seconds=SECONDS, what=f"{program} at {server}")
        except AssertionError as error:
            error.add_note(file.with_name(f"{file.name}.log").read_text())
            raise
        return process

    def _anchor(self) -> str:
        """The DNSKEY of the signed zone."""
        query = dns.message.make_query(SIGNED, "DNSKEY")

        def keys() -> list[str]:
            reply = dns.query.tcp(query, self.authority.host, port=PORT, timeout=SECONDS)
            return [data.to_text() for rrset in reply.answer for data in rrset]

        wait_until(lambda: bool(keys()), seconds=SECONDS, what="the zone is signed")
        return f"{SIGNED}. DNSKEY {keys()[0]}"


@contextmanager
def internet() -> Iterator[Internet]:
    """An Internet of one's own."""
    with ExitStack() as stack:
        yield Internet(stack)


def records(server: Endpoint, name: str, type_: str) -> set[str]:
    """What a server says, as text."""
    query = dns.message.make_query(name, type_)
    reply = dns.query.udp(query, server.host, timeout=SECONDS, port=server.port)
    return {data.to_text() for rrset in reply.answer for data in rrset}


def answers(server: Endpoint) -> bool:
    """Whether a server knows the signed zone."""
    query = dns.message.make_query(SIGNED, "SOA")
    try:
        return bool(dns.query.udp(query, server.host, timeout=1, port=server.port).answer)
    except (dns.exception.DNSException, OSError):
        return False


def answers_tcp(endpoint: Endpoint) -> None:
    """Waits until somebody listens there."""

    def listens() -> bool:
        try:
            with socket.create_connection((endpoint.host, endpoint.port), 1):
                return True
        except OSError:
            return False

    wait_until(listens, seconds=SECONDS, what=f"somebody listens at {endpoint}")


def _smtp(handler: object, endpoint: Endpoint, greeting: str) -> Controller:
    server = Controller(
        handler,
        hostname=endpoint.host,
        port=endpoint.port,
        ident=greeting,
        server_hostname="mail",
        enable_SMTPUTF8=True,
    )
    server.start()
    return server
