"""Registering step by step: what is asked for, what holds, what is left to do."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from primary.changes import Change, CreateHolder, Register, Withdraw
from primary.desk.terms import Ask, Report
from primary.registering.application import Purpose
from primary.registering.proof_records import domain_record_name, holder_text
from primary.web.allowance import client_network
from primary.web.site import Site
from primary.web.visit import HolderKey, Visit
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import ContactField

# A browser follows a redirection at once.
FRESH_SECONDS: Final = 10.0
MAX_FRESH: Final = 1000

CHECKS: Final = "/register/checks"
DONE: Final = "/register/done"


class FreshReports:
    """What forms have just found, for the page that each leads to: nobody waits for it twice."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Report, float]] = OrderedDict()

    def keep(self, report: Report, now_s: float) -> None:
        """Keeps it for one page; of many the latest."""
        self._kept[report.application.application_id] = report, now_s
        if len(self._kept) > MAX_FRESH:
            self._kept.popitem(last=False)

    def take(self, application_id: bytes, now_s: float) -> Report | None:
        """What was just found of an application, once; None if nothing was."""
        report, kept_s = self._kept.pop(application_id, (None, 0.0))
        return report if now_s < kept_s + FRESH_SECONDS else None


class Applying:
    """The pages of who registers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._reports = FreshReports()

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/register", self.begin, methods=["GET", "POST"]),
            Route(CHECKS, self.checks),
            Route(DONE, self.done),
            Route("/register/cancel", self.cancel, methods=["POST"]),
            Route("/register/saved", self.saved, methods=["POST"]),
            Route("/key", self.key_file, methods=["POST"]),
            Route("/confirm/{token}", self.confirm, methods=["GET", "POST"]),
        ]

    async def begin(self, request: Request) -> Response:
        """The form, and what becomes of it."""
        site, visit = self._site, self._site.visit(request)
        if request.method != "POST":
            if visit.application_id or visit.recovers:
                return site.go(CHECKS)
            values = {
                "address": request.query_params.get("address", "")[:64],
                "instead_of": request.query_params.get("instead_of", "")[:64],
            }
            return site.page(request, "register.html", visit=visit, values=values)
        fields = await site.form(request, visit)
        site.look(request)
        try:
            return await self._apply(fields, visit, request.scope["state"]["client"])
        except Problem as problem:
            return site.page(
                request,
                "register.html",
                visit=visit,
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
                problem=problem,
                values=fields,
            )

    async def _apply(self, fields: dict[str, str], visit: Visit, client: str) -> Response:
        site, desk = self._site, self._site.parts.desk
        is_known = visit.key is not None and not visit.unsaved
        key = visit.key or HolderKey.generate()
        contact = () if is_known else contact_of(fields)
        ask = Ask(
            key.holder_id,
            key.management_key,
            Address.parse(fields.get("address", "")),
            fields.get("host", ""),
            fields.get("domain", ""),
            contact,
            client_network(client),
        )
        former = fields.get("instead_of", "")
        instead_of = str(Address.parse(former)) if former else ""
        if instead_of:
            await self._check_own(instead_of, key.holder_id)
        visit = replace(visit, unsaved=not is_known)
        address = str(ask.address)
        if not desk.terms.proofs:
            await self._register(ask)
            visit = replace(visit.granted(), key=key)
            return await self._grant(visit, address, instead_of)
        report = await desk.begin(ask)
        visit = visit.applying(
            key, report.application.application_id, address=address, instead_of=instead_of
        )
        if report.index is not None:
            return await self._grant(visit, address, instead_of)
        self._reports.keep(report, time.monotonic())
        return site.go(CHECKS, visit)

    async def _check_own(self, address: str, holder_id: bytes) -> None:
        """Before all is shown for a move that cannot end; Problem "not_yours"."""
        listed = await self._site.parts.catalogue.registration(Address.parse(address))
        if listed is None or listed.registration.holder_id != holder_id:
            raise Problem(
                "not_yours",
                f"{address} is not your mail server, so it cannot be moved; sign in with the "
                "management key of its holder",
                "instead_of",
            )

    async def _register(self, ask: Ask) -> None:
        """Without proofs, which laboratories do not ask for."""
        changes: list[Change] = []
        if not await self._site.parts.desk.is_holder(ask.holder_id, ask.management_key):
            changes.append(CreateHolder(ask.holder_id, ask.management_key, ask.contact))
        register = Register(ask.holder_id, ask.management_key, ask.address, ask.host, ask.domain)
        await self._site.change(*changes, register)

    async def checks(self, request: Request) -> Response:
        """How it stands; every call looks again, but for the one that the form leads to."""
        site, visit = self._site, self._site.visit(request)
        if visit.key is None or not (visit.application_id or visit.recovers):
            return site.go("/register")
        site.look(request)
        try:
            report = await self._look(visit, visit.key)
        except Problem as problem:
            if problem.code != "not_found" or visit.recovers:
                raise
            return site.page(request, "expired.html", visit=visit.granted(), problem=problem)
        if report.index is not None:
            return await self._grant(visit, visit.address, visit.instead_of)
        # A recovery's identifier changes until its record stands, and nobody needs it.
        application = report.application
        is_fragment = "fragment" in request.query_params
        return site.page(
            request,
            "findings.html" if is_fragment else "checks.html",
            visit=visit,
            application=application,
            findings=report.findings,
            is_server=application.purpose is Purpose.REGISTER,
            record_name=domain_record_name(application.domain) if application.domain else "",
            record_text=holder_text(application.holder_id),
        )

    async def _look(self, visit: Visit, key: HolderKey) -> Report:
        desk = self._site.parts.desk
        if visit.recovers:
            return await desk.begin_recovery(key.holder_id, key.management_key, visit.recovers)
        # Whoever has the application's identifier has it from the cookie, with its key.
        fresh = self._reports.take(visit.application_id, time.monotonic())
        if fresh is not None:
            return fresh
        return await desk.check(visit.application_id, key.management_key)

    async def _grant(self, visit: Visit, address: str, instead_of: str) -> Response:
        """It is registered; the address that it moved away from is withdrawn."""
        key = visit.key
        if instead_of and instead_of != address and key is not None:
            former = Address.parse(instead_of)
            await self._site.change(Withdraw(key.holder_id, key.management_key, former))
        return self._site.go(DONE, replace(visit.granted(), address=address))

    async def done(self, request: Request) -> Response:
        """What was granted, and the key while it is not kept."""
        site, visit = self._site, self._site.visit(request)
        if visit.key is None:
            return site.go("/register")
        listed = None
        if visit.address:
            listed = await site.parts.catalogue.registration(Address.parse(visit.address))
        return site.page(request, "done.html", visit=visit, listed=listed)

    async def cancel(self, request: Request) -> Response:
        """The application is no more."""
        site, visit = self._site, self._site.visit(request)
        await site.form(request, visit)
        if visit.application_id and visit.key is not None:
            try:
                await site.parts.desk.cancel(visit.application_id, visit.key.management_key)
            except Problem as problem:
                # Expired or granted meanwhile: either way it is no more.
                if problem.code != "not_found":
                    raise
        return site.go("/", visit.signed_out() if visit.unsaved else visit.granted())

    async def saved(self, request: Request) -> Response:
        """The person has kept the key: it is shown no more."""
        site, visit = self._site, self._site.visit(request)
        await site.form(request, visit)
        waits = visit.application_id or visit.recovers
        return site.go(CHECKS if waits else "/manage", replace(visit, unsaved=False))

    async def key_file(self, request: Request) -> Response:
        """The key file of the command line, as long as the key is shown."""
        site, visit = self._site, self._site.visit(request)
        await site.form(request, visit)
        if visit.key is None or not visit.unsaved:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        name = f"{visit.key.holder_id.hex()}.json"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(visit.key.file(), headers=headers, media_type="application/json")

    async def confirm(self, request: Request) -> Response:
        """Where the letter leads: a button, for programs follow links too."""
        site, visit = self._site, self._site.visit(request)
        if request.method != "POST":
            return site.page(request, "confirm.html", visit=visit, confirmed=None)
        await site.form(request, visit)
        application = await site.parts.desk.confirm_email(request.path_params["token"])
        return site.page(request, "confirm.html", visit=visit, confirmed=application)


def contact_of(fields: dict[str, str]) -> tuple[ContactValue, ...]:
    """The contact that a form gives. Problem "contact", naming the field."""
    return tuple(
        ContactValue(
            each, fields.get(each.name.lower(), ""), f"public_{each.name.lower()}" in fields
        )
        for each in ContactField
    )
