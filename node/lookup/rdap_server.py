"""RDAP over HTTP (RFC 7480): GET and HEAD, for anyone, from any page."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.endpoint import Endpoint
from node.lookup.rates import Rates
from node.lookup.rdap import RdapAnswer, failure
from node.web_server import WebLimits, WebServer

RDAP_JSON: Final = "application/rdap+json"
# Longer than any name or address, percent-encoded.
MAX_PATH_CHARACTERS: Final = 1024
# What changed is told a minute later, as in DNS.
CACHE_SECONDS: Final = 60
RETRY_SECONDS: Final = 10


class RdapServer:
    """Answers RDAP on the running event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        answer_to: Callable[[str], RdapAnswer],
        rates: Rates,
        limits: WebLimits,
    ) -> None:
        """Binds at once; ConfigurationError says what is in the way."""
        self.counts: dict[int, int] = {}
        self._answer_to = answer_to
        self._rates = rates
        app = Starlette(
            routes=[Route("/{path:path}", self._respond, methods=["GET", "HEAD"])],
            exception_handlers={
                HTTPStatus.METHOD_NOT_ALLOWED: self._refuse_method,
                # A route takes no path with an end of a line in it.
                HTTPStatus.NOT_FOUND: self._refuse_path,
            },
        )
        self._server = WebServer(endpoint, app, limits)
        self._task: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, the port settled."""
        return self._server.endpoint

    async def start(self) -> None:
        """Begins to answer."""
        self._task = asyncio.create_task(self._server.run(), name="rdap")

    async def stop(self) -> None:
        """Ends, after what is being answered."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._server.close()

    async def _respond(self, request: Request) -> Response:
        host = request.client.host if request.client else "::"
        seconds = self._rates.wait(host, time.monotonic())
        if seconds:
            answer = failure(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many questions from your address: try again in {_whole(seconds)} s.",
            )
            return self._response(answer, {"Retry-After": str(_whole(seconds))})
        path = request.path_params["path"]
        if len(path) > MAX_PATH_CHARACTERS:
            return self._response(failure(HTTPStatus.BAD_REQUEST, "The question is too long."))
        return self._response(self._answer_to(path))

    async def _refuse_method(self, _request: Request, _error: Exception) -> Response:
        answer = failure(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD alone.")
        return self._response(answer, {"Allow": "GET, HEAD"})

    async def _refuse_path(self, _request: Request, _error: Exception) -> Response:
        return self._response(failure(HTTPStatus.BAD_REQUEST, "A question is one line."))

    def _response(self, answer: RdapAnswer, others: dict[str, str] | None = None) -> Response:
        status = int(answer.status)
        self.counts[status] = self.counts.get(status, 0) + 1
        headers = {
            # RFC 7480, 5.6.
            "Access-Control-Allow-Origin": "*",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": f"public, max-age={CACHE_SECONDS}" if status < 400 else "no-store",
            **(others or {}),
        }
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(RETRY_SECONDS)
        body = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()
        return Response(body, status, headers, RDAP_JSON)


class RdapCollector(Collector):
    """Shows what was answered."""

    def __init__(self, server: RdapServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        metric = CounterMetricFamily(
            "smtpnic_rdap_answers", "RDAP questions answered, by status.", labels=["status"]
        )
        for status, count in list(self._server.counts.items()):
            metric.add_metric([str(status)], count)
        yield metric


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
