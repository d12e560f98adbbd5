"""Where a process listens, or finds another: a host and a port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host name or IP address and a TCP or UDP port; port 0 asks for a free one.

    ValueError, saying what is expected, for anything else.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or not self.host.isprintable() or any(c in self.host for c in " []/"):
            raise ValueError(f"{self.host!r} is not a host")
        if not 0 <= self.port <= MAX_PORT:
            raise ValueError(f"port {self.port} is not within 0 and {MAX_PORT}")

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From `host:port`, IPv6 addresses in brackets (RFC 3986, 3.2.2)."""
        host, colon, port = text.rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not (port.isascii() and port.isdigit()):
            raise ValueError(f"{text!r}: expected host:port, such as 127.0.0.1:8443 or [::1]:8443")
        if (":" in host) != is_bracketed:
            raise ValueError(f"{text!r}: expected an IPv6 address in brackets, such as [::1]:8443")
        return cls(host[1:-1] if is_bracketed else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
