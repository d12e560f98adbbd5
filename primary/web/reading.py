"""Pages that anyone reads: look an address up, a registration and its proof, the board, help."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.lookup.whois import REVIEWS
from primary.desk.complaints import Complaint
from primary.web.allowance import client_network
from primary.web.catalogue import SearchShareError
from primary.web.plots import Point
from primary.web.proving import bundle, check
from primary.web.site import Site, day
from primary.web.statistics import drawn_lags, drawn_statistics
from primary.web.tables import csv_text
from registry.address import Address
from registry.checkpoint import open_checkpoint
from registry.contact import Opening
from registry.errors import Problem
from registry.relaying import relay_address
from registry.statistics import DAY_MS, Day, history

MAX_QUERY: Final = 320
# Seconds after which one of a client's own searches may have ended.
_SEEK_RETRY: Final = "2"
# Ten years.
MAX_DAYS: Final = 3660
_COLUMNS: Final = (
    *("day", "registered", "withdrawn", "activated", "lapsed", "suspended"),
    *("registrations", "domains"),
)
# What each mail server is told, in the package of configurations.
RECEIVERS: Final = (
    ("Postfix", "postfix", "advise.cf", "enforce.cf"),
    ("Exim", "exim", "advise.acl", "enforce.acl"),
    ("sendmail", "sendmail", "advise.mc", "enforce.mc"),
    ("OpenSMTPD", "opensmtpd", "advise.conf", "enforce.conf"),
    ("SpamAssassin", "spamassassin", "advise.cf", "enforce.cf"),
)


@dataclass(frozen=True, slots=True)
class _Mirror:
    """How far a mirror was when it was heard of, so many seconds ago."""

    name: str
    size: int
    behind: int
    seconds: int


class Reading:
    """Pages without a key."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._receivers = [
            (name, _configuration(folder, advise), _configuration(folder, enforce))
            for name, folder, advise, enforce in RECEIVERS
        ]

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/", self.home),
            Route("/lookup", self.lookup),
            Route("/mail-servers/{address}", self.registration),
            Route("/mail-servers/{address}/verify", self.verify),
            Route("/mail-servers/{address}/proof", self.proof),
            Route("/status", self.status),
            Route("/statistics", self.statistics),
            Route("/statistics.csv", self.statistics_table),
            Route("/board", self.board),
            Route("/receivers", self.receivers),
            Route("/report", self.report, methods=["GET", "POST"]),
            Route("/privacy", self.privacy),
        ]

    async def home(self, request: Request) -> Response:
        """The question that people come with."""
        return self._site.page(request, "home.html", asked="")

    async def lookup(self, request: Request) -> Response:
        """An address, a name or an e-mail address; of that, only what is behind the @."""
        asked = request.query_params.get("q", "").strip()[:MAX_QUERY]
        if not asked:
            return self._site.go("/")
        try:
            address = Address.parse(asked.strip("[]"))
        except Problem:
            return await self._seek(request, asked.rpartition("@")[2])
        return self._site.go(f"/mail-servers/{address}")

    async def _seek(self, request: Request, name: str) -> Response:
        site = self._site
        site.look(request)
        try:
            client = client_network(request.scope["state"]["client"])
            found = await site.parts.catalogue.seek(name, client)
        except Problem as problem:
            refused = HTTPStatus.UNPROCESSABLE_ENTITY
            return site.page(request, "home.html", status=refused, problem=problem, asked=name)
        except SearchShareError:
            retry = {"retry-after": _SEEK_RETRY}
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, headers=retry) from None
        return site.page(request, "found.html", asked=name, found=found)

    async def registration(self, request: Request) -> Response:
        """What the register says of one address."""
        site, address = self._site, _address(request)
        if str(address) != request.path_params["address"]:
            return site.go(f"/mail-servers/{address}")
        listed = await site.parts.catalogue.registration(address)
        contact: tuple[Opening, ...] = ()
        relay, verified_ms = "", 0
        if listed is not None:
            holder_id = listed.registration.holder_id
            verified_ms = await site.parts.catalogue.verified_ms(listed)
            contact = await site.parts.catalogue.contact(holder_id)
            if site.parts.desk.terms.relay:
                relay = relay_address(holder_id, site.parts.origin)
        return site.page(
            request,
            "registration.html",
            status=HTTPStatus.OK if listed else HTTPStatus.NOT_FOUND,
            address=address,
            special=address.special_purpose() or "",
            listed=listed,
            verified_ms=verified_ms,
            reviews=REVIEWS,
            contact=contact,
            relay=relay,
            size=site.parts.log.size,
        )

    async def verify(self, request: Request) -> Response:
        """Checks the proof, as the command line does, and shows the steps."""
        site, address = self._site, _address(request)
        site.look(request)
        lookup = await site.parts.prover.prove(address)
        verified = check(lookup, site.parts.keys(), address)
        return site.page(
            request,
            "verify.html",
            address=address,
            verified=verified,
            is_registered=lookup.record is not None,
            checkpoint=lookup.signed_state.checkpoint.decode(errors="replace"),
        )

    async def proof(self, request: Request) -> Response:
        """The proof as a file."""
        site, address = self._site, _address(request)
        site.look(request)
        lookup = await site.parts.prover.prove(address)
        name = str(address).replace(":", "-")
        headers = {"content-disposition": f'attachment; filename="smtpnic-proof-{name}.json"'}
        file = bundle(address, site.parts.url, lookup)
        return Response(file, headers=headers, media_type="application/json")

    async def status(self, request: Request) -> Response:
        """How the cluster stands: the log, and the mirrors that cosign it."""
        head = self._site.parts.log.head
        return self._site.page(
            request,
            "status.html",
            head=head,
            checkpoint=open_checkpoint(head.checkpoint, self._site.parts.keys()),
            mirrors=self._mirrors(),
        )

    async def statistics(self, request: Request) -> Response:
        """How many there are, since when, how old they are, and how far the mirrors."""
        catalogue = self._site.parts.catalogue
        changes = await catalogue.days()
        lags = [Point(mirror.name, mirror.behind) for mirror in self._mirrors()]
        return self._site.page(
            request,
            "statistics.html",
            counted=await catalogue.statistics(),
            plots=drawn_statistics(changes, int(time.time() * 1000) // DAY_MS),
            days=history(changes)[-MAX_DAYS:],
            lags=lags,
            lag_plot=drawn_lags(lags),
        )

    async def statistics_table(self, _request: Request) -> Response:
        """The same by day, as a table."""
        days = history(await self._site.parts.catalogue.days())
        rows = [_COLUMNS, *(_row(each) for each in days[-MAX_DAYS:])]
        headers = {"content-disposition": 'attachment; filename="statistics.csv"'}
        return Response(csv_text(rows), headers=headers, media_type="text/csv; charset=utf-8")

    def _mirrors(self) -> list[_Mirror]:
        log, now_s = self._site.parts.log, time.time()
        return [
            _Mirror(
                name,
                vouched.size,
                max(0, log.size - vouched.size),
                round(now_s - vouched.reported_s),
            )
            for name, vouched in sorted(log.cosignatures.vouched.items())
        ]

    async def board(self, request: Request) -> Response:
        """What the board decided."""
        decisions = await self._site.parts.catalogue.decisions()
        return self._site.page(request, "board.html", decisions=decisions)

    async def receivers(self, request: Request) -> Response:
        """How a mail server asks the registry."""
        return self._site.page(request, "receivers.html", receivers=self._receivers)

    async def report(self, request: Request) -> Response:
        """Complaints about a mail server."""
        site, visit = self._site, self._site.visit(request)
        values = {"address": request.query_params.get("address", "")[:64]}
        if request.method != "POST":
            return site.page(request, "report.html", visit=visit, values=values, sent=False)
        fields = await site.form(request, visit)
        try:
            complaint = Complaint(
                Address.parse(fields.get("address", "")),
                fields.get("text", "").replace("\r\n", "\n"),
                fields.get("mailbox", ""),
            )
            client = client_network(request.scope["state"]["client"])
            await site.parts.complaints.take(complaint, client)
        except Problem as problem:
            refused = HTTPStatus.UNPROCESSABLE_ENTITY
            return site.page(
                request,
                "report.html",
                visit=visit,
                status=refused,
                problem=problem,
                values=fields,
                sent=False,
            )
        return site.page(request, "report.html", visit=visit, values=fields, sent=True)

    async def privacy(self, request: Request) -> Response:
        """What the registry knows, and what it tells."""
        return self._site.page(request, "privacy.html")


def _address(request: Request) -> Address:
    try:
        return Address.parse(request.path_params["address"])
    except Problem:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None


def _row(each: Day) -> tuple[str, ...]:
    happened = (each.registered, each.withdrawn, each.activated, each.lapsed, each.suspended)
    numbers = (*happened, each.totals.all, each.domains)
    return (str(day(each.day * DAY_MS)), *map(str, numbers))


def _configuration(folder: str, name: str) -> str:
    return (files("receivers") / folder / name).read_text(encoding="utf-8")
