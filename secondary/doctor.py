"""What is wrong on a secondary's machine, and what to do about it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from node.doctor import machine, trust
from node.doctor.finding import Check, Finding, bad, good, poor, skipped
from node.doctor.finding import Verdict as Told
from node.doctor.machine import Port
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.identity_files import IdentityFiles, Paths
from registry.errors import VerificationError
from registry.wire.v1 import mirror_pb2 as pb
from secondary.cursor import open_freshness
from secondary.follower_status import Phase
from secondary.preflight import Verdict, check
from secondary.roots import Roots
from secondary.services.status_client import get_status
from secondary.set_values import Tried
from secondary.settings import Role, SecondarySettings
from secondary.upstream import Upstream, UpstreamError, UpstreamRefused

ASK_SECONDS: Final = 3.0
# A burst of changes is over by then; more is a mirror that does not keep up.
POOR_LAG: Final = 1000
# The primary cosigns every few seconds.
SILENCE_SECONDS: Final = 60.0
_NEW_CERTIFICATE: Final = (
    "it is renewed by itself where the primary can be asked: see status; else ask its operator "
    "for a token, and smtpnic-secondary join TOKEN DIR --again"
)
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
# As `listen` stands where nothing else was given.
_OWN_MACHINE: Final = ("127.0.0.1", "::1", "localhost")
_BOTH: Final = (socket.SOCK_DGRAM, socket.SOCK_STREAM)


def checks(settings: SecondarySettings, ntp: str) -> dict[str, Check]:
    """All that can be looked at, by name; `ntp` is a server to compare the clock with, if any."""
    own = _Secondary(settings)
    return {
        "clock": lambda: machine.check_ntp(ntp),
        "disk": lambda: machine.check_disk(settings.data_dir),
        "certificate": own.certificate,
        "root": own.root,
        "fork": lambda: trust.check_forks(settings.data_dir),
        "ports": own.ports,
        "resolver": own.resolver,
        "upstream": own.upstream,
        "reach": own.reach,
        "etcd": own.etcd,
        "follower": own.follower,
        "dns": own.dns,
    }


class _Secondary:
    def __init__(self, settings: SecondarySettings) -> None:
        self._settings = settings

    def certificate(self) -> Iterator[Finding]:
        tls = self._settings.tls
        hosts = [self._settings.mirror.listen.host]
        return trust.check_certificate(tls.certificate, tls.key, tls.ca, hosts, _NEW_CERTIFICATE)

    def root(self) -> Iterator[Finding]:
        yield trust.check_root(Roots.load(self._settings).chain.current)

    def ports(self) -> Iterator[Finding]:
        """Of every role that is to run on this machine."""
        settings = self._settings
        if Role.FOLLOWER in settings.roles:
            places = [
                Port("follower.http", settings.follower.http),
                Port("mirror.listen", settings.mirror.listen),
                Port("log.listen", settings.log.listen),
            ]
            if settings.relay.listen is not None:
                places.append(Port("relay.listen", settings.relay.listen))
            yield from machine.check_ports("follower", settings.follower.http, places)
        for role, section in ((Role.DNS, settings.dns), (Role.WHOIS, settings.whois)):
            if role in settings.roles:
                kinds = _BOTH if role is Role.DNS else (socket.SOCK_STREAM,)
                places = [
                    Port(f"{role}.listen", section.listen, kinds),
                    Port(f"{role}.http", section.http),
                ]
                yield from machine.check_ports(role.value, section.http, places)

    def resolver(self) -> Iterator[Finding]:
        """Whether the names that the settings give can be looked up."""
        settings = self._settings
        names = {settings.upstream.host, *(e.rpartition(":")[0] for e in settings.etcd.endpoints)}
        for name in sorted(name for name in names if not name.startswith("unix")):
            try:
                found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except OSError as error:
                advice = "mend /etc/resolv.conf, or write an address in place of the name"
                yield bad("resolver", f"{name} cannot be looked up: {error}", advice)
            else:
                yield good("resolver", f"{name} is {found[0][4][0]}")

    def upstream(self) -> Iterator[Finding]:
        """Whether the upstream can be reached, serves this node, and says the truth; and the clock.

        What it signed says what time it is there.
        """
        settings, roots = self._settings, Roots.load(self._settings)
        tls = settings.tls
        files = IdentityFiles(Paths(tls.ca, tls.certificate, tls.key))
        upstream = Upstream(settings.upstream, files)
        at = f"upstream {settings.upstream}"
        try:
            roots.take(upstream.roots(roots.wanted_after))
            note = upstream.newest_freshness()
        except UpstreamRefused as error:
            yield bad("upstream", f"{at} refuses this node: {error}", _NEW_CERTIFICATE)
        except UpstreamError as error:
            yield bad(
                "upstream",
                f"{at} cannot be reached: {error}",
                "is it up, is the way there open (firewall, TCP), does its certificate fit ca? "
                "Or follow another: upstream",
            )
        except VerificationError as error:
            yield bad("upstream", f"{at} gave a root that is none: {error}", "choose another one")
        else:
            yield from _judge_freshness(at, note, roots)
        finally:
            upstream.close()

    def reach(self) -> Iterator[Finding]:
        """What the primary sees of this node's ports, from where it stands."""
        settings = self._settings
        if not settings.cosigning.report:
            yield skipped("reach", "a reader: the primary tries the ports of mirrors alone")
            return
        tls = settings.tls
        files = IdentityFiles(Paths(tls.ca, tls.certificate, tls.key))
        primary = Upstream(settings.primary, files)
        try:
            tried = primary.try_ports(
                *(_public_port(one) for one in (settings.log.listen, settings.mirror.listen))
            )
        except UpstreamError as error:
            yield skipped("reach", f"the primary at {settings.primary} tries no port: {error}")
            return
        finally:
            primary.close()
        for one in tried:
            yield _judge_reach(one)

    def etcd(self) -> Iterator[Finding]:
        """As `preflight`."""
        told = {Verdict.GOOD: Told.GOOD, Verdict.ADVICE: Told.ADVICE, Verdict.BAD: Told.BAD}
        try:
            for one in check(self._settings):
                found, _, advice = one.text.partition(": ")
                if one.verdict is Verdict.GOOD:
                    yield good("etcd", one.text)
                else:
                    yield Finding("etcd", told[one.verdict], found, advice or found)
        except ConnectionError as error:
            advice = "start it, or the secondary whose child it is; see that endpoints, TLS fit"
            yield bad("etcd", f"etcd does not answer: {error}", advice)
        except ConfigurationError as error:
            yield bad("etcd", str(error), "install etcd, or set etcd.endpoints of a cluster")

    def follower(self) -> Iterator[Finding]:
        """How the follower stands, by its own word."""
        try:
            status = get_status(self._settings)
        except (ConnectionError, ConfigurationError) as error:
            yield skipped("follower", str(error))
            return
        yield _judge_phase(status)
        lag = max([status.upstream_size, *(peer.size for peer in status.peers)]) - status.size
        found = f"{status.size} entries, {max(0, lag)} behind"
        if lag > POOR_LAG:
            yield poor("lag", found, "see whether it falls; docs/runbooks/SmtpnicLag.md")
        else:
            yield good("lag", found)
        if status.out_of_rotation:
            advice = "choose another upstream; docs/runbooks/SmtpnicOutOfRotation.md"
            yield bad("lag", status.out_of_rotation, advice)
        if status.cosigning_problem:
            yield poor("cosigning", status.cosigning_problem, "set cosigning.report_to")

    def dns(self) -> Iterator[Finding]:
        """Whether the zone is answered, over UDP and TCP."""
        settings = self._settings.dns
        if Role.DNS not in self._settings.roles:
            return
        host = _ANY.get(settings.listen.host, settings.listen.host)
        query = dns.message.make_query(settings.zone, "SOA", use_edns=0)
        for transport, ask in (("UDP", dns.query.udp), ("TCP", dns.query.tcp)):
            at = f"{Endpoint(host, settings.listen.port)} over {transport}"
            try:
                reply = ask(query, host, timeout=ASK_SECONDS, port=settings.listen.port)
            except (OSError, dns.exception.DNSException) as error:
                what = f"no answer from {at}: {error or type(error).__name__}"
                yield bad("dns", what, "start it; see its log, and its ports")
                continue
            yield _judge_answer(at, settings.zone, reply)


def _public_port(listen: Endpoint) -> int:
    """What others are to reach; 0 where a listener is for this machine alone, as it begins."""
    return 0 if listen.host in _OWN_MACHINE else listen.port


def _judge_reach(tried: Tried) -> Finding:
    if tried.untried:
        at = f" at {tried.at}" if tried.at else ""
        return skipped("reach", f"the primary did not try {tried.service}{at}: {tried.untried}")
    if not tried.problem:
        return good("reach", f"the primary reaches {tried.service} at {tried.at}")
    advice = (
        f"let the way there be open to all: firewall, forwarded port, load balancer, {tried.at}; "
        "see that the process runs, and listens where that leads"
    )
    return bad("reach", f"from the primary, {tried.service} at {tried.at}: {tried.problem}", advice)


def _judge_freshness(at: str, note: bytes, roots: Roots) -> Iterator[Finding]:
    if not note:
        advice = "see whether the primary runs"
        yield poor("upstream", f"{at} answers, and has not heard how fresh its log is", advice)
        return
    try:
        fresh = open_freshness(note, roots, roots)
    except VerificationError as error:
        advice = "choose another upstream, and tell its operator"
        yield bad("upstream", f"{at} gave what the registry did not sign: {error}", advice)
        return
    yield good("upstream", f"{at} answers, and holds {fresh.checkpoint.size} entries, signed")
    ahead = time.time() - fresh.time_s
    if ahead > SILENCE_SECONDS:
        yield bad(
            "clock",
            f"by this clock the registry last signed {ahead:.0f} s ago",
            "either this clock is ahead (set it by NTP), or the primary is away",
        )
    else:
        # Signed every few seconds, so it may be as old.
        yield machine.check_clock(ahead, "what the primary signed", max(0.0, ahead))


def _judge_phase(status: pb.MirrorStatus) -> Finding:
    advice = status.advice or "see its log"
    match status.phase:
        case Phase.FOLLOWING:
            return good("follower", f"it follows {status.upstream}")
        case Phase.STARTING | Phase.LOADING:
            return poor("follower", f"it is {status.phase}", advice)
        case Phase.FORKED:
            return bad("fork", "the log has forked, and following has ended", advice)
    return bad("follower", f"it is {status.phase}", advice)


def _judge_answer(at: str, zone: str, reply: dns.message.Message) -> Finding:
    rcode = dns.rcode.to_text(reply.rcode())
    if reply.rcode() == dns.rcode.NOERROR and reply.flags & dns.flags.AA:
        return good("dns", f"{at} answers for {zone}")
    told = [option.to_text() for option in reply.options if isinstance(option, dns.edns.EDEOption)]
    found = f"{at} says {rcode} for {zone}"
    advice = "; ".join(told) or "is it a server of this registry, and of this zone?"
    return bad("dns", found, advice)
