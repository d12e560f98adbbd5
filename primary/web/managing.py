"""What a holder does with the management key: sees, updates, moves, withdraws, recovers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from primary.changes import Update, UpdateHolder, Withdraw, WithdrawHolder
from primary.desk.terms import Ask, Report
from primary.web.applying import CHECKS, contact_of
from primary.web.catalogue import ROWS_A_PAGE
from primary.web.site import Site, moment
from primary.web.tables import csv_text
from primary.web.visit import HolderKey, Visit
from registry.address import Address
from registry.errors import Problem
from registry.kinds import ContactField
from registry.limits import HOLDER_ID_BYTES

HOME: Final = "/manage"
MAX_EXPORTED: Final = 10_000

_Act = Callable[[Visit, HolderKey, dict[str, str]], Awaitable[Response]]


class Managing:
    """The pages of who has registered."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route(HOME, self.home),
            Route("/manage/key", self.sign_in, methods=["POST"]),
            Route("/manage/sign-out", self.sign_out, methods=["POST"]),
            Route("/manage/export.csv", self.export),
            Route("/manage/update", self._acting(self._update), methods=["POST"]),
            Route("/manage/withdraw", self._acting(self._withdraw), methods=["POST"]),
            Route("/manage/contact", self._acting(self._contact), methods=["POST"]),
            Route("/manage/end", self._acting(self._end), methods=["POST"]),
            Route("/recover", self.recover, methods=["GET", "POST"]),
        ]

    async def home(self, request: Request) -> Response:
        """The holder's registrations; without a key, where to give it."""
        visit = self._site.visit(request)
        if visit.key is None:
            return self._site.page(request, "sign-in.html", visit=visit)
        return await self._home(request, visit, visit.key)

    async def sign_in(self, request: Request) -> Response:
        """Takes the key, if it is a holder's."""
        site, visit = self._site, self._site.visit(request)
        fields = await site.form(request, visit)
        key = HolderKey.read(fields.get("key", ""))
        try:
            if key is None or not await site.parts.desk.is_holder(
                key.holder_id, key.management_key
            ):
                raise Problem("not_found", "this is no management key of a holder here", "key")
        except Problem as problem:
            return site.page(
                request,
                "sign-in.html",
                visit=visit,
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
                problem=problem,
            )
        # Another name: a form of before is not taken for one of the holder's.
        return site.go(HOME, replace(Visit.begin(), key=key))

    async def sign_out(self, request: Request) -> Response:
        """The browser forgets the key."""
        visit = self._site.visit(request)
        await self._site.form(request, visit)
        return self._site.go("/", visit.signed_out())

    async def export(self, request: Request) -> Response:
        """The holder's registrations as a table."""
        site, visit = self._site, self._site.visit(request)
        if visit.key is None:
            return site.go(HOME)
        rows = [("address", "host", "domain", "status", "registered", "version")]
        after = None
        while len(rows) < MAX_EXPORTED:
            page = await site.parts.catalogue.of_holder(visit.key.holder_id, after)
            for one in page:
                registration = one.registration
                registered = moment(registration.registered_ms)
                names = (registration.host, registration.domain)
                rows.append((str(one.address), *names, one.status, registered, str(one.version)))
            if len(page) < ROWS_A_PAGE:
                break
            after = page[-1].address.packed
        headers = {"content-disposition": 'attachment; filename="registrations.csv"'}
        return Response(csv_text(rows), headers=headers, media_type="text/csv; charset=utf-8")

    async def recover(self, request: Request) -> Response:
        """Another key in the place of a lost one."""
        site, visit = self._site, self._site.visit(request)
        if request.method != "POST":
            return site.page(request, "recover.html", visit=visit)
        fields = await site.form(request, visit)
        site.look(request)
        try:
            key = HolderKey(_holder_id(fields), HolderKey.generate().management_key)
            domain = fields.get("domain", "")
            await site.parts.desk.begin_recovery(key.holder_id, key.management_key, domain)
        except Problem as problem:
            return site.page(
                request,
                "recover.html",
                visit=visit,
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
                problem=problem,
                values=fields,
            )
        return site.go(CHECKS, replace(Visit.begin(), key=key, recovers=domain, unsaved=True))

    def _acting(self, act: _Act) -> Callable[[Request], Awaitable[Response]]:
        """A form of the holder's; what the registry refuses is shown above the list."""

        async def handle(request: Request) -> Response:
            site, visit = self._site, self._site.visit(request)
            fields = await site.form(request, visit)
            if visit.key is None:
                return site.go(HOME)
            site.look(request)
            try:
                return await act(visit, visit.key, fields)
            except Problem as problem:
                return await self._home(request, visit, visit.key, (problem, fields))

        return handle

    async def _update(self, visit: Visit, key: HolderKey, fields: dict[str, str]) -> Response:
        """Other names, or the same once more: what lapsed comes back."""
        address = Address.parse(fields.get("address", ""))
        host, domain = fields.get("host", ""), fields.get("domain", "")
        names = (key.holder_id, key.management_key, address, host, domain)
        if not self._site.parts.desk.terms.proofs:
            await self._site.change(Update(*names))
            return self._site.go(HOME, visit)
        return self._went_on(visit, key, await self._site.parts.desk.begin(Ask(*names)))

    async def _withdraw(self, visit: Visit, key: HolderKey, fields: dict[str, str]) -> Response:
        address = Address.parse(fields.get("address", ""))
        await self._site.change(Withdraw(key.holder_id, key.management_key, address))
        return self._site.go(HOME, visit)

    async def _contact(self, visit: Visit, key: HolderKey, fields: dict[str, str]) -> Response:
        contact = contact_of(fields)
        if not self._site.parts.desk.terms.proofs:
            await self._site.change(UpdateHolder(key.holder_id, key.management_key, contact))
            return self._site.go(HOME, visit)
        report = await self._site.parts.desk.begin_contact(
            key.holder_id, key.management_key, contact
        )
        return self._went_on(visit, key, report)

    async def _end(self, visit: Visit, key: HolderKey, _fields: dict[str, str]) -> Response:
        """The holder itself, once it has no registrations."""
        await self._site.change(WithdrawHolder(key.holder_id, key.management_key))
        return self._site.go("/", visit.signed_out())

    def _went_on(self, visit: Visit, key: HolderKey, report: Report) -> Response:
        if report.index is not None:
            return self._site.go(HOME, visit.granted())
        application = report.application
        address = str(application.address or "")
        return self._site.go(
            CHECKS, visit.applying(key, application.application_id, address=address)
        )

    async def _home(
        self,
        request: Request,
        visit: Visit,
        key: HolderKey,
        refused: tuple[Problem, dict[str, str]] | None = None,
    ) -> Response:
        """`refused`: why a form was not taken, and what was in it."""
        catalogue = self._site.parts.catalogue
        after = _after(request.query_params.get("after", ""))
        rows = await catalogue.of_holder(key.holder_id, after)
        contact = await catalogue.contact(key.holder_id)
        values = {ContactField(opening.field).name.lower(): opening.value for opening in contact}
        return self._site.page(
            request,
            "manage.html",
            visit=visit,
            status=HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK,
            problem=refused[0] if refused else None,
            values={**values, **(refused[1] if refused else {})},
            shown=frozenset(values),
            rows=rows,
            next_after=rows[-1].address if len(rows) == ROWS_A_PAGE else "",
        )


def _after(text: str) -> bytes | None:
    try:
        return Address.parse(text).packed if text else None
    except Problem:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None


def _holder_id(fields: dict[str, str]) -> bytes:
    try:
        found = bytes.fromhex(fields.get("holder_id", ""))
    except ValueError:
        found = b""
    if len(found) != HOLDER_ID_BYTES:
        raise Problem("holder", "an identifier has 32 hexadecimal digits", "holder_id")
    return found
