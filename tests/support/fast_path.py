"""The answers of a fast path beside those of the responder, over the same registrations."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import dns.edns
import dns.message
import dns.rdataclass
import dns.rdatatype

from registry.address import Address
from registry.kinds import Status
from registry.label import dashed, reversed_name
from registry.member import Announced, Member
from secondary.dns.batched_udp import FastAnswers
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.cookies import ServerCookies
from secondary.dns.implementation import Implementation
from secondary.dns.pure.answering import FastPath as PureFastPath
from secondary.dns.rate_limit import RateLimiter, RateLimits
from secondary.dns.reply import Transport
from secondary.dns.server import LimitedAnswers
from secondary.dns.table import DictTable
from tests.support.responding import four_zones, make_responder
from tests.support.views import NOW_S, put_member, put_registration, registration, standing

LIMITER_KEY = bytes(range(100, 116))
SECRETS = [bytes(range(16)), bytes(range(50, 66))]
UNLIMITED = RateLimits(0, 0, 0)
LISTED_ADDRESSES = (
    "192.0.2.36",
    "192.0.2.37",
    "198.51.100.255",
    "1.2.3.4",
    "2001:db8::36",
    "2001:db8:ffff::1",
    "1200::",
)
MEMBERS = {
    "m1": Member(
        Announced("one", "eu", (Address.parse("192.0.2.11"), Address.parse("2001:db8::11"))),
        places=("a",),
    ),
    "m2": Member(Announced("two", "us", (Address.parse("192.0.2.12"),)), places=("a", "b")),
    "m3": Member(Announced("three", "us", (Address.parse("192.0.2.13"),)), reason="lags"),
}
NEVER_REGISTERED = ("8.8.8.8", "127.0.0.2", "127.0.0.1", "10.1.2.3", "::ffff:127.0.0.2", "2600::1")
SERVERS = (
    "nic.example.",
    "ns.nic.example.",
    "a.ns.nic.example.",
    "b.ns.nic.example.",
    "c.ns.nic.example.",
    "x.a.ns.nic.example.",
    "ns1.nic.example.",
)
TYPES = (1, 2, 5, 6, 15, 16, 28, 43, 250, 251, 252, 255, 257, 65535)


class Both:
    """One query, two answers."""

    def __init__(
        self,
        implementation: Implementation,
        limits: RateLimits = UNLIMITED,
        hosts: Sequence[str] = (),
    ) -> None:
        is_compiled = implementation is Implementation.COMPILED
        self.table: CompiledTable | DictTable = CompiledTable() if is_compiled else DictTable()
        reference = DictTable()
        for number, address in enumerate(LISTED_ADDRESSES):
            host = hosts[number] if number < len(hosts) else f"mail{number}.example.org"
            status = Status.ACTIVE if number % 2 else Status.NEW
            for table in (self.table, reference):
                put_registration(table, address, registration(status, host))
        for table in (self.table, reference):
            for name, member in MEMBERS.items():
                put_member(table, name, member)
            table.advance(standing(serial=0xFEDCBA98))
        responder = make_responder(reference, zones=four_zones(), cookies=ServerCookies(SECRETS))
        self.reference = LimitedAnswers(responder, RateLimiter(limits, LIMITER_KEY))
        self.limiter = RateLimiter(limits, LIMITER_KEY)
        apart = LimitedAnswers(responder, self.limiter)
        self.fast: Any = PureFastPath(responder, self.limiter)
        if is_compiled:
            self.fast = FastAnswers.before(apart, lambda: None, threads=1).path

    def ask(
        self, wire: bytes, client: bytes, now: float = NOW_S, now_us: int = 10**9
    ) -> tuple[bytes | None, bytes]:
        """What the fast path says, None if it declines, and what the responder says."""
        fast: bytes | None = self.fast.answer_one(self.table, wire, client, int(now), now_us)
        slow = self.reference.answer_at(wire, Transport.UDP, client, now, now_us)
        return fast, b"" if slow is None else slow


def random_query(random: Random, cookies: Sequence[bytes] = ()) -> bytes:
    """A query such as servers get: any name that matters, any type, any EDNS."""
    message = dns.message.make_query(
        _random_name(random), dns.rdatatype.RdataType.make(random.choice(TYPES))
    )
    message.id = random.randrange(65536)
    message.flags = random.choice([0, 0x0100, 0x0110, 0x0130])
    if random.random() < 0.05:
        message.question[0].rdclass = dns.rdataclass.from_text(random.choice(["CH", "HS", "ANY"]))
    if random.random() < 0.7:
        message.use_edns(
            edns=0 if random.random() < 0.95 else 1,
            ednsflags=random.choice([0, 0x8000]),
            payload=random.choice([0, 511, 512, 600, 1232, 4096]),
            options=_random_options(random, cookies),
        )
    return message.to_wire()


def mutated(random: Random, wire: bytes) -> bytes:
    """The same with a few bytes changed, taken out or put in."""
    changed = bytearray(wire)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(4):
            case 0 if at < len(changed):
                changed[at] = random.randrange(256)
            case 1 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                del changed[at : at + random.randrange(1, 20)]
            case _:
                changed[at:at] = random.randbytes(random.randrange(1, 20))
    return bytes(changed)


def _random_name(random: Random) -> str:
    zone = random.choice(["", "list.", "unlisted."]) + "smtpnic.example."
    labels = _random_labels(random, Address.parse(_random_address(random)))
    name = ".".join([*labels, zone]) if labels else zone
    if random.random() < 0.05:
        name = random.choice(SERVERS)
    if random.random() < 0.05:
        name = random.choice(["example.org.", ".", "smtpnic.example.org.", "x.list.smtpnic."])
    if random.random() < 0.3:
        name = "".join(random.choice([letter.upper(), letter]) for letter in name)
    return name


def _random_address(random: Random) -> str:
    if random.random() < 0.2:
        size = random.choice([4, 16])
        return str(Address(random.randbytes(size)))
    return random.choice(LISTED_ADDRESSES + NEVER_REGISTERED)


def _random_labels(random: Random, address: Address) -> list[str]:
    labels = [dashed(address)]
    if random.random() < 0.6:
        labels = reversed_name(address).split(".")
    match random.randrange(8):
        case 0:
            labels = labels[random.randrange(len(labels)) :]
        case 1:
            labels.insert(0, random.choice(["x", "0", "12", "a", "256", "01", "1-2-3-4"]))
        case 2:
            labels = []
        case 3:
            labels[-1] = random.choice(["f", "255", "256", "00", "g", "2-3-4-5-6", "1-2-3-04"])
    return labels


def _random_options(random: Random, cookies: Sequence[bytes]) -> list[dns.edns.Option]:
    options: list[dns.edns.Option] = []
    while random.random() < 0.5:
        code = random.choice([3, 8, 10, 10, 12, 15])
        data = random.randbytes(random.choice([0, 4, 7, 8, 8, 8, 16, 24, 40, 41]))
        if code == 10 and cookies and random.random() < 0.5:
            data = random.choice(cookies)
        options.append(dns.edns.GenericOption(dns.edns.OptionType.make(code), data))
    return options
