"""A secondary as its operator sees it: status, metrics, log, and the etcd behind it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rcode
from prometheus_client.parser import text_string_to_metric_families

from lab.asking import ASK_SECONDS, dns_name
from lab.cluster import DNS_HTTP_PORT, FOLLOWER_HTTP_PORT, WHOIS_HTTP_PORT, ZONE, Secondary
from lab.process import LabError
from registry.wire.v1 import mirror_pb2
from secondary.etcd import EtcdStore
from secondary.services.status_client import get_status
from secondary.settings import SecondarySettings

HTTP_PORTS = {"follower": FOLLOWER_HTTP_PORT, "dns": DNS_HTTP_PORT, "whois": WHOIS_HTTP_PORT}

# Settings of a secondary that ends, and tries again, without delay.
QUICK = {
    "SMTPNIC_SECONDARY_LOG_FORMAT": "json",
    "SMTPNIC_SECONDARY_DRAIN_SECONDS": "0.2",
    "SMTPNIC_SECONDARY_FOLLOWER__MAX_RETRY_SECONDS": "0.5",
    "SMTPNIC_SECONDARY_FOLLOWER__DISTRUST_SECONDS": "0.3",
    "SMTPNIC_SECONDARY_FOLLOWER__OLD_GENERATION_SECONDS": "0",
}


class Probe:
    """Looks at one secondary, whose log is in JSON."""

    def __init__(self, secondary: Secondary) -> None:
        self.secondary = secondary

    @property
    def settings(self) -> SecondarySettings:
        """What its file says."""
        return SecondarySettings.load(self.secondary.settings_file)

    @property
    def etcd_endpoint(self) -> str:
        """The socket of its own etcd."""
        return self.settings.etcd_endpoints[0]

    def status(self) -> mirror_pb2.MirrorStatus:
        """What `smtpnic-secondary status` shows; an empty one while nobody answers."""
        try:
            return get_status(self.settings)
        except ConnectionError:
            return mirror_pb2.MirrorStatus()

    def metric(self, role: str, name: str, **labels: str) -> float | None:
        """A metric of a role; None if it is not shown, or the role does not answer."""
        url = f"http://{self.secondary.address}:{HTTP_PORTS[role]}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                text = page.read().decode()
        except (urllib.error.URLError, OSError):
            return None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None

    def events(self, name: str, **keys: Any) -> list[dict[str, Any]]:
        """The log's events of this name that carry all of `keys`, oldest first."""
        log = self.secondary.process.log
        if not log.exists():
            return []
        lines = log.read_text(encoding="utf-8").splitlines()
        # Most lines need not be parsed to be left out; this is asked often.
        events = [_event(line) for line in lines if f'"{name}"' in line]
        return [e for e in events if e.get("event") == name and keys.items() <= e.items()]

    def child_pid(self, name: str) -> int:
        """The process id of a child; 0 while it does not run."""
        try:
            if name == "etcd":
                return self.secondary.etcd_pid()
            return self.secondary.role_pid(name)
        except (LabError, OSError):
            return 0

    def extended_error(self, address: str) -> tuple[str, int | None]:
        """The response code for `address`, and the INFO-CODE (RFC 8914) that came with it."""
        query = dns.message.make_query(dns_name(address, ZONE), "A", use_edns=0)
        host, port = self.secondary.dns
        reply = dns.query.udp(query, host, timeout=ASK_SECONDS, port=port)
        codes = [int(o.code) for o in reply.options if isinstance(o, dns.edns.EDEOption)]
        return dns.rcode.to_text(reply.rcode()), codes[0] if codes else None

    @contextmanager
    def store(self) -> Iterator[EtcdStore]:
        """The etcd behind it, as a stranger with access to it has it."""
        store = EtcdStore([self.etcd_endpoint])
        try:
            yield store
        finally:
            store.close()


def _event(line: str) -> dict[str, Any]:
    """The event that a line is; nothing for a line of another program."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
