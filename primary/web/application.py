"""The pages together, and what a person sees when something goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from node.logging import get_logger
from primary.intake import BusyError, IntakeClosedError
from primary.store.errors import StoreUnavailableError
from primary.web.applying import Applying
from primary.web.catalogue import SearchBusyError
from primary.web.edge import Edge, Network, Origin
from primary.web.managing import Managing
from primary.web.reading import Reading
from primary.web.site import Parts, Site
from registry.errors import Problem

STATIC: Final = Path(__file__).with_name("static")
_UNAVAILABLE: Final = (
    *(BusyError, IntakeClosedError, SearchBusyError),
    *(StoreUnavailableError, TimeoutError),
)
_STATUSES: Final = {"not_found": HTTPStatus.NOT_FOUND, "not_yours": HTTPStatus.FORBIDDEN}
_TEXTS: Final = {
    HTTPStatus.FORBIDDEN: "This form is not of a page of yours, or that was long ago. Go back, "
    "load the page again, and send it once more.",
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "That is too much for a form.",
    HTTPStatus.TOO_MANY_REQUESTS: "You ask too much at once. Wait a minute, and try again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The registry cannot do this at the moment; nothing was "
    "changed. Please try again a little later.",
}

_log = get_logger("web")


def make_app(parts: Parts, proxies: Sequence[Network] = ()) -> ASGIApp:
    """The whole site."""
    site = Site(parts)
    errors = _Errors(site)
    pages = [Reading(site).routes(), Applying(site).routes(), Managing(site).routes()]
    inner = Starlette(
        routes=[
            *(route for some in pages for route in some),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={
            HTTPException: errors.http,
            Problem: errors.problem,
            **dict.fromkeys(_UNAVAILABLE, errors.unavailable),
            Exception: errors.fault,
        },
    )
    # One page has one address.
    inner.router.redirect_slashes = False
    return Edge(inner, Origin(parts.url), proxies, parts.allowance)


class _Errors:
    """Pages for what did not work."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def http(self, request: Request, error: Exception) -> Response:
        """What HTTP has a status for."""
        if not isinstance(error, HTTPException):
            raise error
        status = HTTPStatus(error.status_code)
        return self._page(request, status, _TEXTS.get(status, status.description), error.headers)

    async def problem(self, request: Request, error: Exception) -> Response:
        """What the registry refuses, and no form could show."""
        code = error.code if isinstance(error, Problem) else ""
        return self._page(
            request, _STATUSES.get(code, HTTPStatus.UNPROCESSABLE_ENTITY), str(error), None
        )

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """What passes."""
        _log.warning("page.unavailable", path=_shown_path(request), fault=type(error).__name__)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return self._page(request, status, _TEXTS[status], {"retry-after": "2"})

    async def fault(self, request: Request, error: Exception) -> Response:
        """A fault of ours: its text may tell what is private, so the log has its kind alone."""
        _log.error("page.failed", path=_shown_path(request), fault=type(error).__name__)
        text = "Something is wrong here, and it is no fault of yours. Nothing was changed."
        return self._page(request, HTTPStatus.INTERNAL_SERVER_ERROR, text, None)

    def _page(
        self, request: Request, status: HTTPStatus, text: str, headers: Mapping[str, str] | None
    ) -> Response:
        response = self._site.page(
            request, "error.html", status=status, title=status.phrase, text=text
        )
        response.headers.update(headers or {})
        return response


def _shown_path(request: Request) -> str:
    """For the log: without the word that confirms a mailbox."""
    path = request.url.path
    return "/confirm/..." if path.startswith("/confirm/") else path
