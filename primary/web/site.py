"""What all pages share: their parts, how they are drawn, and what a form has to be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from primary.changes import Change
from primary.desk.complaints import Complaints
from primary.desk.desk import Desk
from primary.intake import Intake
from primary.public_log import PublicLog
from primary.registering.findings import Condition, Verdict
from primary.web.allowance import Allowance, Effort
from primary.web.catalogue import Catalogue
from primary.web.proving import Prover
from primary.web.visit import Visit, Visits
from registry.checkpoint import CheckpointKeys
from registry.errors import Problem
from registry.kinds import ContactField

FORM_SECONDS: Final = 10.0
MAX_FIELDS: Final = 40
MAX_FIELD_BYTES: Final = 8 * 1024
_FORM: Final = "application/x-www-form-urlencoded"

CONDITIONS: Final = {
    Condition.PTR: "The address has your host name",
    Condition.FORWARD: "The host name leads back to the address",
    Condition.ZONE: "The name is your own",
    Condition.DOMAIN: "The domain lets you register",
    Condition.ADDRESS: "The address is yours",
    Condition.EMAIL: "You read that mailbox",
}
FIELDS: Final = {
    ContactField.NAME: "Name",
    ContactField.POSTAL_ADDRESS: "Postal address",
    ContactField.EMAIL: "E-mail address",
    ContactField.TELEPHONE: "Telephone",
}
VERDICTS: Final = {
    Verdict.HELD: "Holds",
    Verdict.FAILED: "To do",
    Verdict.UNKNOWN: "Not known yet",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pages work with."""

    origin: str
    url: str
    desk: Desk
    intake: Intake
    # Raises Problem for a change that is not taken without proofs, as over gRPC.
    admit: Callable[[Change], None]
    log: PublicLog
    catalogue: Catalogue
    prover: Prover
    keys: Callable[[], CheckpointKeys]
    complaints: Complaints
    visits: Visits
    allowance: Allowance


class Site:
    """Draws pages and reads forms."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._templates = Environment(
            loader=PackageLoader("primary.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "origin": parts.origin,
            "url": parts.url,
            "relay_runs": parts.desk.terms.relay,
            "conditions": CONDITIONS,
            "verdicts": VERDICTS,
        }
        self._templates.filters |= {
            "day": day,
            "moment": moment,
            "sentence": sentence,
            "label": FIELDS.__getitem__,
        }

    def visit(self, request: Request) -> Visit:
        """Whose request it is."""
        return self.parts.visits.of(request)

    def page(
        self,
        request: Request,
        template: str,
        *,
        visit: Visit | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        **values: Any,
    ) -> Response:
        """A page; with `visit`, one that has forms or belongs to somebody."""
        now = visit or self.visit(request)
        text = self._templates.get_template(template).render(
            visit=now,
            form_token=self.parts.visits.form_token(now),
            path=request.url.path,
            problem=values.pop("problem", None),
            values=values.pop("values", {}),
            **values,
        )
        response = HTMLResponse(text, status)
        return self.parts.visits.keep(response, visit) if visit is not None else response

    def go(self, path: str, visit: Visit | None = None) -> Response:
        """Sends the browser on, by GET."""
        response = RedirectResponse(path, HTTPStatus.SEE_OTHER)
        return self.parts.visits.keep(response, visit) if visit is not None else response

    async def form(self, request: Request, visit: Visit) -> dict[str, str]:
        """The fields of one of our own forms, without the space around them."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _FORM:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            async with asyncio.timeout(FORM_SECONDS):
                sent = await request.form(max_files=0, max_fields=MAX_FIELDS)
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None
        fields = {name: str(value).strip() for name, value in sent.items()}
        if len(fields) > MAX_FIELDS or any(
            len(value.encode("utf-8", "replace")) > MAX_FIELD_BYTES for value in fields.values()
        ):
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not self.parts.visits.is_form_token(visit, fields.pop("form_token", "")):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        return fields

    def look(self, request: Request) -> None:
        """The request makes us look something up; HTTPException 429 if it is one too many."""
        client = request.scope["state"]["client"]
        wait_s = self.parts.allowance.take(client, Effort.LOOK, time.monotonic())
        if wait_s:
            retry = {"retry-after": str(int(wait_s) + 1)}
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, headers=retry)

    async def change(self, *changes: Change) -> int:
        """Commits the changes; the last one's version. Problem: one of them was refused."""
        for one in changes:
            self.parts.admit(one)
        submitted = await self.parts.intake.submit(changes)
        index = 0
        for outcome in submitted.outcomes:
            if isinstance(outcome, Problem):
                raise outcome
            index = outcome
        return index


def sentence(text: str) -> str:
    """The text with a capital at its beginning, and nothing else changed."""
    return text[:1].upper() + text[1:]


def day(time_ms: int) -> str:
    """A date for people."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%-d %B %Y}"


def moment(time_ms: int) -> str:
    """A date and time for people."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%-d %B %Y, %H:%M} UTC"
