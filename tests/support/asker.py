"""A receiver that asks a DNS server without pause, and remembers every wrong answer."""

from __future__ import annotations

import threading
import time

import dns.exception
import dns.message
import dns.query
import dns.rcode

from lab.asking import dns_name
from lab.cluster import ZONE

PAUSE_SECONDS = 0.01
# Nothing here says how fast an answer has to be.
TIMEOUT_SECONDS = 30.0


class Asker:
    """Asks for one address that is registered and one that is not; a context manager."""

    def __init__(self, server: tuple[str, int], registered: str, unknown: str) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self._server = server
        self._expected = {registered: [registered], unknown: ["NXDOMAIN"]}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asker")

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        assert self.wrong == []
        assert self.answers

    def _run(self) -> None:
        while not self._stopping.is_set():
            for address, expected in self._expected.items():
                found = self._ask(address)
                if found != expected:
                    self.wrong.append(f"{time.time()}: {address}: {found}")
                self.answers += 1
            self._stopping.wait(PAUSE_SECONDS)

    def _ask(self, address: str) -> list[str]:
        query = dns.message.make_query(dns_name(address, ZONE), "A")
        host, port = self._server
        try:
            reply = dns.query.udp(query, host, timeout=TIMEOUT_SECONDS, port=port)
        except (dns.exception.DNSException, OSError) as error:
            return [repr(error)]
        if reply.rcode() != dns.rcode.NOERROR:
            return [dns.rcode.to_text(reply.rcode())]
        return [item.to_text() for rrset in reply.answer for item in rrset]
