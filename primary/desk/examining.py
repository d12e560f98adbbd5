"""Looks at all that an application has to show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from primary.desk.looking import MAX_LOOKS, Looker
from primary.registering.application import Application, Purpose
from primary.registering.findings import Finding
from primary.registering.judging import judge_email
from primary.registering.schedule import DAY_MS

# A connection from the address counts for as long as a person may need for the rest.
CONNECTION_MS: Final = DAY_MS


@dataclass(frozen=True, slots=True)
class Examiner:
    """Looks by this looker, at so many applications at once; `can_send`: letters leave."""

    looker: Looker
    can_send: bool
    clock: Callable[[], int]
    _looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_LOOKS))

    async def look(self, application: Application) -> tuple[Finding, ...]:
        """What was found of each condition."""
        async with self._looks:
            match application.purpose:
                case Purpose.REGISTER:
                    findings = await self._server(application)
                case Purpose.RECOVER:
                    findings = [await self.recovery(application)]
                case Purpose.CONTACT:
                    findings = []
        return (*findings, *([self.email(application)] if application.email else []))

    async def recovery(self, application: Application) -> Finding:
        """Whether the domain gives the holder the new key."""
        return await self.looker.recovery(
            application.domain, application.holder_id, application.key_hash
        )

    def email(self, application: Application) -> Finding:
        """Whether the letter was answered."""
        return judge_email(
            application.email,
            confirmed=bool(application.email_confirmed_ms),
            sent=bool(application.email_token_hash),
            can_send=self.can_send,
        )

    async def _server(self, application: Application) -> list[Finding]:
        connected = application.address_proved_ms > self.clock() - CONNECTION_MS
        token = application.address_token
        return await self.looker.server(application.subject, token, connected=connected)
