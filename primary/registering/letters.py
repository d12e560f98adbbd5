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

    def restarted(self, email: str, address: str, what: str, time: int, times: int) -> Letter:
        """Tells that a proof did not come, and that the week begins again; which of so many times
        in a row.
        """
        body = (
            f"{address} is registered as new, and becomes active when it has stayed yours for a\n"
            "week. A proof was due, and none came for a day, so the week begins again:\n\n"
            f"{what}\n\n"
            f"This is time {time} of {times}. Time {times} in a row the registration lapses:\n"
            "receivers will no longer find it. Where connections show the address, have the\n"
            "machine run smtpnic prove every hour (cron or a systemd timer): see\n"
            "docs/registering.md."
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

    def mailbox_changed(self, email: str, holder: str) -> Letter:
        """Tells the mailbox so far that another one is in its place, and not which."""
        body = (
            f"The holder {holder} has another e-mail address now:\n"
            "somebody with its management key asked for it, and confirmed the new one. No more\n"
            "letters come here. If that was not you, the key is somebody else's too: tell the\n"
            "board, and register your mail servers again with a new key. Whoever can show that\n"
            "they are theirs has them."
        )
        return self._letter(email, "your e-mail address was replaced", body)

    def failing(self, email: str, address: str, what: str, day: int, days: int) -> Letter:
        """Tells that a check does not hold any more, on which of so many days in a row."""
        body = (
            f"The registration of {address} does not hold any more:\n\n{what}\n\n"
            f"This is day {day} of {days}. On day {days} in a row the registration lapses:\n"
            "receivers will no longer find it. It is looked at about once a day.\n"
            "Mended in time, nothing is lost, and you have nothing else to do."
        )
        return self._letter(email, f"{address}: please look", body)

    def lapsed(self, email: str, address: str, what: str, until_ms: int) -> Letter:
        """Tells that a registration has lapsed, and until when it may come back."""
        body = (
            f"The registration of {address} has lapsed:\n\n{what}\n\n"
            "Receivers no longer find it. Mend it, and it comes back by itself,\n"
            f"until {_day(until_ms)}; after that, register it again."
        )
        return self._letter(email, f"{address} has lapsed", body)

    def restored(self, email: str, address: str, *, is_new: bool) -> Letter:
        """Tells that a lapsed registration is back; `is_new`: its first week begins again."""
        body = f"Everything holds again: {address} is registered as before."
        if is_new:
            body += "\nIts first week was not over, and begins again."
        return self._letter(email, f"{address} is back", body)

    def ended(self, email: str, address: str) -> Letter:
        """Tells that what lapsed does not come back by itself any more."""
        body = (
            f"{address} was not mended in time, and the registry looks no more. If it is still\n"
            "your mail server, register it again; if not, withdraw it."
        )
        return self._letter(email, f"{address} stays lapsed", body)

    def held_back(self, board: str, registrations: int) -> Letter:
        """Asks the board about more lapses than there may be in a day."""
        body = (
            f"{registrations} registrations would lapse, and are held back: more than may within\n"
            "a day. The fault is likelier the registry's own, or that of a large provider. Look\n"
            "whether the resolvers are right. If they should lapse, decide `lapses all TIME`; if\n"
            "not, `lapses none TIME`. Until then they stay registered."
        )
        return self._letter(board, f"{registrations} lapses are held back: please decide", body)

    def complaint(self, email: str, address: str, text: str, mailbox: str) -> Letter:
        """Tells a holder what somebody says about its mail server."""
        quoted = "\n".join(f"> {line}" for line in text.splitlines())
        answer = mailbox or "nobody: the writer left no address"
        body = (
            f"Somebody complains about {address}, which you registered:\n\n{quoted}\n\n"
            f"Answer to: {answer}\n\n"
            "The registry has read none of it, and counts complaints for its board. If it is\n"
            "true, please mend it; if not, you need do nothing."
        )
        return self._letter(email, f"a complaint about {address}", body)

    def complaint_count(self, board: str, address: str, count: int) -> Letter:
        """Tells the board how many complaints there were, and no more."""
        body = (
            f"There was a complaint about {address}, number {count} about this holder there.\n"
            "It went to the holder; the registry keeps the count alone."
        )
        return self._letter(board, f"complaint {count} about {address}", body)

    def _letter(self, email: str, subject: str, body: str) -> Letter:
        return Letter(email, f"[{self.origin}] {subject}", f"{body}\n\n-- \n{self.origin}\n")


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
