"""What every request passes before any page."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from primary.web.allowance import Allowance, Effort
from primary.web.edge import Edge, Origin

URL = "https://smtpnic.example"
PROXIES = [ipaddress.ip_network("192.0.2.0/30"), ipaddress.ip_network("2001:db8::/64")]


async def _tell_client(scope: Scope, receive: Receive, send: Send) -> None:
    response = PlainTextResponse(Request(scope).scope["state"]["client"])
    await response(scope, receive, send)


def ask(peer: str, **headers: Any) -> httpx.Response:
    """What the edge and an application behind it answer to this peer."""

    async def run() -> httpx.Response:
        edge = Edge(_tell_client, Origin(URL), PROXIES, Allowance(dict.fromkeys(Effort, 100)))
        transport = httpx.ASGITransport(edge, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.get("/", **headers)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Whoever connects may say what it likes, unless it is a proxy of ours.
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("192.0.2.1", "203.0.113.9", "203.0.113.9"),
        # Only the last word is the proxy's own; the others are the client's.
        ("192.0.2.1", "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        # Two proxies of ours.
        ("192.0.2.1", "203.0.113.9, 192.0.2.2", "203.0.113.9"),
        ("2001:db8::5", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_who_asks_is_believed_of_our_proxies_alone(peer: str, forwarded: str, client: str) -> None:
    """X-Forwarded-For counts from the right, for as long as it names proxies."""
    assert ask(peer, headers={"X-Forwarded-For": forwarded}).text == client


def test_another_host_is_refused() -> None:
    """Nobody else's name shows these pages."""
    assert ask("198.51.100.1", headers={"Host": "evil.example"}).status_code == 421
