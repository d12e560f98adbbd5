"""What is wrong on the primary's machine, and what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from statistics import median
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from node.doctor import machine, trust
from node.doctor.finding import Check, Finding, bad, good, poor, skipped
from node.doctor.machine import Port
from node.endpoint import Endpoint
from node.errors import ConfigurationError, StorageError
from node.resolving import system_resolvers
from primary.administration_client import get_status
from primary.checkpoint_file import CheckpointFile
from primary.settings import PrimarySettings
from primary.signing_keys import check_keys, load_keys
from primary.store.errors import SchemaError, StoreUnavailableError
from primary.store.store import Store
from registry.checkpoint import open_checkpoint
from registry.errors import VerificationError
from registry.wire.v1 import administration_pb2 as pb

ASK_SECONDS: Final = 3.0
# As the alert SmtpnicMirrorSilent.
SILENT_SECONDS: Final = 600.0
POOR_LAG: Final = 1000


def checks(settings: PrimarySettings, ntp: str) -> dict[str, Check]:
    """All that can be looked at, by name; `ntp` is a server to compare the clock with, if any."""
    own = _Primary(settings)
    return {
        "clock": lambda: machine.check_ntp(ntp),
        "disk": lambda: machine.check_disk(settings.data_dir),
        "certificate": own.certificate,
        "log": own.log,
        "fork": lambda: trust.check_forks(settings.data_dir),
        "ports": own.ports,
        "resolver": own.resolvers,
        "mail": own.mail,
        "mirrors": own.mirrors,
    }


class _Primary:
    def __init__(self, settings: PrimarySettings) -> None:
        self._settings = settings

    def certificate(self) -> Iterator[Finding]:
        tls = self._settings.tls
        hosts = [self._settings.public.listen.host, self._settings.nodes.listen.host]
        mend = "smtpnic-primary renew; why it was not renewed by itself, the log says"
        return trust.check_certificate(tls.certificate, tls.key, tls.ca, hosts, mend)

    def log(self) -> Iterator[Finding]:
        """Whether database, checkpoint and keys tell one story, and how long the root is good."""
        settings = self._settings
        restore = "docs/operations.md, When a primary does not start"
        try:
            keys = load_keys(settings)
            store = Store(settings.store_url)
        except ConfigurationError as error:
            yield bad("keys", str(error), "put the right files back")
            return
        try:
            store.check_schema()
            keys.log.restore(store.reader)
            head = store.reader.head()
            note = CheckpointFile(settings.checkpoint_file).read()
            yield trust.check_root(keys.log.chain.current)
            check_keys(keys, head.size)
            if note is None:
                yield bad("log", f"{settings.checkpoint_file} is missing", restore)
                return
            signed = open_checkpoint(note, keys.log.chain)
            if signed.size > head.size:
                found = f"size {signed.size} was signed, and the database holds {head.size}"
                yield bad("log", found, f"an older database was restored: {restore}")
            else:
                yield good("log", f"{head.size} entries, the last checkpoint at {signed.size}")
        except (SchemaError, StoreUnavailableError, StorageError) as error:
            yield bad("log", str(error), restore)
        except (ConfigurationError, VerificationError) as error:
            yield bad("keys", str(error), restore)
        finally:
            store.close()

    def ports(self) -> Iterator[Finding]:
        settings = self._settings
        places = [
            Port("public.listen", settings.public.listen),
            Port("nodes.listen", settings.nodes.listen),
            Port("log.listen", settings.log.listen),
            Port("http.listen", settings.http.listen),
        ]
        return machine.check_ports("the primary", settings.http.listen, places)

    def resolvers(self) -> Iterator[Finding]:
        """Whether each answers, and validates; only where registering asks for proofs."""
        if not self._settings.asks_proofs:
            yield skipped("resolver", "nobody who registers is asked for proofs here")
            return
        try:
            servers = self._settings.registering.resolvers or system_resolvers()
        except ConfigurationError as error:
            yield bad("resolver", str(error), "name some that validate: [registering] resolvers")
            return
        yield from map(_check_resolver, servers)
        if len(servers) < 3:
            found = f"{len(servers)} of them"
            advice = "name three, in different networks: [registering] resolvers"
            yield poor("resolver", found, advice)

    def mail(self) -> Iterator[Finding]:
        """Whether the server that takes letters can be reached."""
        server = self._settings.mail.server
        if server is None:
            if self._settings.asks_proofs:
                advice = "[mail] server: without one nobody new can confirm a mailbox"
                yield poor("mail", "no server takes letters", advice)
            return
        try:
            with closing(socket.create_connection((server.host, server.port), ASK_SECONDS)):
                yield good("mail", f"{server} can be reached")
        except OSError as error:
            yield bad("mail", f"{server}: {error}", "start it, open the way, or set [mail] server")

    def mirrors(self) -> Iterator[Finding]:
        """How those stand who follow and cosign, and what their clocks say of this one."""
        try:
            status = get_status(self._settings.administration.socket)
        except ConnectionError as error:
            yield skipped("mirrors", str(error))
            return
        for one in status.subscribers:
            behind = status.size - one.size
            found = f"{one.name} follows, {behind} behind"
            advice = "docs/runbooks/SmtpnicSubscriberBehind.md"
            yield poor("lag", found, advice) if behind > POOR_LAG else good("lag", found)
        yield from _check_mirrors(status.mirrors)


def _check_mirrors(mirrors: Iterable[pb.CosigningMirror]) -> Iterator[Finding]:
    found = list(mirrors)
    if not found:
        yield poor("mirrors", "nobody cosigns", "add mirrors: while there is none, a loss is final")
        return
    latest = max(one.reported_ms for one in found)
    for one in found:
        quiet = (latest - one.reported_ms) / 1000
        text = f"{one.name} cosigned {one.size} entries"
        advice = "docs/runbooks/SmtpnicMirrorSilent.md"
        if quiet > SILENT_SECONDS:
            yield poor("mirrors", f"{text}, and nothing for {quiet:.0f} s", advice)
        else:
            yield good("mirrors", text)
    # A cosignature is reported at once, so the two times of one differ by the clocks alone.
    ahead = median((one.reported_ms - one.cosigned_ms) / 1000 for one in found)
    yield machine.check_clock(ahead, f"the clocks of {len(found)} mirrors, in the middle", 1.0)


def _check_resolver(server: Endpoint) -> Finding:
    query = dns.message.make_query(".", "NS", want_dnssec=True)
    query.flags |= dns.flags.AD
    try:
        reply = dns.query.udp(query, server.host, timeout=ASK_SECONDS, port=server.port)
    except (OSError, dns.exception.DNSException) as error:
        found = f"{server} does not answer: {error or type(error).__name__}"
        return bad("resolver", found, "mend it, or name another: [registering] resolvers")
    if reply.rcode() != dns.rcode.NOERROR:
        found = f"{server} says {dns.rcode.to_text(reply.rcode())} for the root zone"
        return bad("resolver", found, "let this machine ask it, or name another")
    if not reply.flags & dns.flags.AD:
        found = f"{server} does not validate"
        return poor("resolver", found, "switch DNSSEC validation on there, or name one that does")
    return good("resolver", f"{server} answers and validates")
