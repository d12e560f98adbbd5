"""What every request passes: who asks, how much, for which site; and the headers of every answer.

Pure ASGI, before anything of Starlette's: what is refused here costs next to nothing.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from primary.web.allowance import Allowance, Effort

# A contact is four fields of 1 KiB; percent-encoding makes three bytes of one.
MAX_BODY_BYTES: Final = 32 * 1024
HSTS_SECONDS: Final = 63_072_000
# Python renames it in 3.13 as RFC 9110 did.
CONTENT_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
METHODS: Final = ("GET", "HEAD", "POST")

_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not none: with that a browser hides from us where a form came from.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_PLAIN: Final = "text/plain; charset=utf-8"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Origin:
    """Where people find the site, as the settings say: "https://smtpnic.org"."""

    url: str

    @property
    def is_secure(self) -> bool:
        """Whether people reach it over TLS."""
        return self.url.startswith("https://")

    @property
    def host(self) -> str:
        """What a request's Host header says."""
        return urlsplit(self.url).netloc


class Edge:
    """Around the application."""

    def __init__(
        self, app: ASGIApp, origin: Origin, proxies: Sequence[Network], allowance: Allowance
    ) -> None:
        self._app = app
        self._origin = origin
        self._proxies = proxies
        self._allowance = allowance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        # For the pages: whom a request comes from.
        scope["state"] = {"client": self._client(scope, headers)}
        guarded = self._with_headers(scope, send)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _say(guarded, *refusal)
            return
        # Whoever drew the page of a fault has told and logged it.
        with suppress(Exception):
            await self._app(scope, _bounded(receive), guarded)

    def _refusal(
        self, scope: Scope, headers: Headers
    ) -> tuple[HTTPStatus, str, dict[str, str]] | None:
        """Why it is not answered; None if it is."""
        method = scope["method"]
        if headers.get("host", "").lower() != self._origin.host:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this is {self._origin.url}", {}
        if method not in METHODS:
            allowed = {"allow": ", ".join(METHODS)}
            return HTTPStatus.METHOD_NOT_ALLOWED, "pages are read, and forms sent", allowed
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:9]) > MAX_BODY_BYTES:
            return CONTENT_TOO_LARGE, "that is too much for a form", {}
        if method == "POST" and not self._is_ours(headers):
            return HTTPStatus.FORBIDDEN, "forms of other sites are not taken", {}
        effort = Effort.CHANGE if method == "POST" else Effort.PAGE
        return self._too_many(scope["state"]["client"], effort)

    def _too_many(
        self, client: str, effort: Effort
    ) -> tuple[HTTPStatus, str, dict[str, str]] | None:
        wait_s = self._allowance.take(client, effort, time.monotonic())
        if not wait_s:
            return None
        retry = {"retry-after": str(int(wait_s) + 1)}
        return HTTPStatus.TOO_MANY_REQUESTS, "too many requests; wait a moment", retry

    def _is_ours(self, headers: Headers) -> bool:
        """Whether a form can be of our own pages, as far as the browser tells (Fetch Metadata)."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        return headers.get("origin", self._origin.url) == self._origin.url

    def _client(self, scope: Scope, headers: Headers) -> str:
        """Who asks: the peer, or whom proxies of ours name, the nearest that is none of them."""
        peer = scope["client"][0] if scope.get("client") else "-"
        named = [part.strip() for part in ",".join(headers.getlist("x-forwarded-for")).split(",")]
        chain = [part for part in named if part]
        client = peer
        while chain and self._is_proxy(client):
            client = chain.pop()
        return str(client)

    def _is_proxy(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        # Only what everybody gets alike may be kept by a cache.
        caching = "max-age=3600" if scope["path"].startswith("/static/") else "no-store"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", caching)
                if self._origin.is_secure:
                    headers["strict-transport-security"] = f"max-age={HSTS_SECONDS}"
            await send(message)

        return guarded


def _bounded(receive: Receive) -> Receive:
    """Lengths that are not announced count too."""
    left = MAX_BODY_BYTES

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(CONTENT_TOO_LARGE)
        return message

    return bounded


async def _say(send: Send, status: HTTPStatus, text: str, headers: dict[str, str]) -> None:
    body = f"{status.value} {status.phrase}: {text}\n".encode()
    raw = {"content-type": _PLAIN, "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in raw.items()]
    await send({"type": "http.response.start", "status": status.value, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
