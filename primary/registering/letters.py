"""The letters that the registry writes: plain text, one matter each, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter. ValueError for a recipient or subject of more than a line."""

    recipient: str
    subject: str
    body: str

    def __post_init__(self) -> None:
        for text in (self.recipient, self.subject):
            if not text.isprintable() or not text:
                raise ValueError("a header is one line of printable characters")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes for one registry: its name, and the link that confirms ("{token}" in it, or empty)."""

    origin: str
    confirm_link: str

    def confirm(self, email: str, what: str, token: str, expires_ms: int) -> Letter:
        """Asks whether the mailbox is the applicant's."""
        ways = [f"  smtpnic confirm {token}"]
        if self.confirm_link:
            ways.insert(0, f"  {self.confirm_link.replace('{token}', token)}\n\nor, by command:\n")
        body = "\n".join(
            [
                f"Somebody, perhaps you, asks {self.origin} for {what}",
                "and gave this e-mail address. If it was you, follow",
                "",
                *ways,
                "",
                f"by {_day(expires_ms)}. If not, do nothing: it is forgotten then.",
            ]
        )
        return self._letter(email, "please confirm your e-mail address", body)

    def taken_over(self, email: str, address: str, host: str) -> Letter:
        """Tells a holder that another one has shown to have the address now."""
        body = (
            f"{address}, which you had registered, is now registered by another holder\n"
            f"as {host}: they have shown today that the address, its PTR record and the\n"
            "domain are theirs. If the address is still yours, register it again: whoever can\n"
            "show it has it. If somebody deceived your provider, tell the board."
        )
        return self._letter(email, f"{address} was taken over", body)

    def active(self, email: str, address: str) -> Letter:
        """Tells that the week is over."""
        body = (
            f"{address} has stayed yours for a week: its status is now active.\n"
            "What you put in place for the proofs may stay; the registry looks now and then."
        )
        return self._letter(email, f"{address} is active", body)

    def restarted(self, email: str, address: str, token: str) -> Letter:
        """Tells that a proof did not come, and that the week begins again."""
        body = (
            f"{address} is registered as new, and becomes active when it has stayed yours for a\n"
            "week. A proof was due, and none came for a day, so the week begins again. Run\n\n"
            f"  smtpnic prove {address} --token {token}\n\n"
            "every hour on that machine (cron or a systemd timer), or see docs/registering.md."
        )
        return self._letter(email, f"{address}: the week begins again", body)

    def recovered(self, email: str) -> Letter:
        """Tells that the management key is another one."""
        body = (
            "Your holder has another management key now: somebody who reads this mailbox and\n"
            "edits your domain's zone asked for it. If that was not you, both are not safe:\n"
            "secure them first, and then recover the key yourself."
        )
        return self._letter(email, "your management key was replaced", body)

    def failing(self, email: str, address: str, what: str) -> Letter:
        """Tells that a check does not hold any more."""
        body = (
            f"The registration of {address} does not hold any more:\n\n{what}\n\n"
            "If it stays so, the registration lapses: receivers will no longer find it.\n"
            "Mended in time, nothing is lost, and you have nothing else to do."
        )
        return self._letter(email, f"{address}: please look", body)

    def lapsed(self, email: str, address: str, what: str) -> Letter:
        """Tells that a registration has lapsed."""
        body = (
            f"The registration of {address} has lapsed:\n\n{what}\n\n"
            "Receivers no longer find it. Mend it, and it comes back by itself."
        )
        return self._letter(email, f"{address} has lapsed", body)

    def restored(self, email: str, address: str) -> Letter:
        """Tells that a lapsed registration is back."""
        body = f"Everything holds again: {address} is registered as before."
        return self._letter(email, f"{address} is back", body)

    def _letter(self, email: str, subject: str, body: str) -> Letter:
        return Letter(email, f"[{self.origin}] {subject}", f"{body}\n\n-- \n{self.origin}\n")


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
