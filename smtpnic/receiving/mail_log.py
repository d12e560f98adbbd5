"""Which clients a mail server took mail from, as its log says: Postfix, Exim, sendmail.

Pure: lines in, deliveries out. A line that says nothing of this is skipped, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from node.finding import unmapped
from registry.address import Address
from registry.errors import Problem

# A message whose user is told in a line of its own; only the last ones can be of interest.
MAX_REMEMBERED: Final = 10_000
# As whom they speak to syslog, as their packages come.
SENDMAIL_PROGRAMS: Final = ("sendmail", "sm-mta", "sendmail-mta")
EXIM_PROGRAMS: Final = ("exim", "exim4")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that was taken: when, from whom, and whether that client had authenticated."""

    at: datetime
    address: Address
    is_authenticated: bool


_SYSLOG: Final = re.compile(
    r"^(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))"
    r" \S+ (?P<program>[\w./-]+)\[\d+\]: (?P<text>.*)$"
)
_POSTFIX: Final = re.compile(r"^[0-9A-Za-z]+: client=[^[\s]*\[(?P<address>[^]]+)\](?P<rest>.*)$")
_SENDMAIL: Final = re.compile(
    r"^(?P<id>\w+): from=.*\bnrcpts=[1-9].*\brelay=[^,]*?\[(?:IPv6:)?(?P<address>[^]]+)\]"
)
_SENDMAIL_USER: Final = re.compile(r"^(?P<id>\w+): AUTH=server, ")
_EXIM: Final = re.compile(
    # In syslog it may have been left to that (syslog_timestamp).
    r"^(?:(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?(?P<zone> [+-]\d{4})? )?(?:\[\d+\] )?"
    r"[0-9A-Za-z]+-[0-9A-Za-z]+-[0-9A-Za-z]+ <= "
    # The sender, in which a quoted part may hold anything; R=, DS; the host, (its HELO), [address].
    r"""(?:"(?:[^"\\]|\\.)*"|[^\s"])+(?: R=\S+)?(?: DS)? H=(?:[^\s(\[]+ )?(?:\([^()]*\) )?"""
    r"\[(?P<address>[^]]+)\](?P<rest>.*)$"
)
_QUOTED: Final = re.compile(r'"[^"]*"')


class LogReader:
    """Reads lines of one log; `now` dates the lines that have no year."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        # Queue identifiers of sendmail whose client had authenticated.
        self._users: dict[str, None] = {}

    def deliveries(self, lines: Iterable[str]) -> Iterator[Delivery]:
        """The messages that were taken, in the order of the lines."""
        for line in lines:
            found = self._delivery(line)
            if found is not None:
                yield found

    def _delivery(self, line: str) -> Delivery | None:
        entry = _SYSLOG.match(line)
        if entry is None:
            return self._of_exim(line, "")
        program, text = entry["program"], entry["text"]
        if program in EXIM_PROGRAMS:
            return self._of_exim(text, entry["time"])
        if program.startswith("postfix") and program.endswith("/smtpd"):
            taken = _POSTFIX.match(text)
            if taken is not None:
                moment = syslog_time(entry["time"], self._now)
                return _made(moment, taken["address"], "sasl_username=" in taken["rest"])
        elif program in SENDMAIL_PROGRAMS:
            return self._of_sendmail(entry["time"], text)
        return None

    def _of_exim(self, text: str, logged_at: str) -> Delivery | None:
        arrived = _EXIM.match(text)
        if arrived is None or not (arrived["time"] or logged_at):
            return None
        moment = (
            _exim_time(arrived["time"], arrived["zone"] or "")
            if arrived["time"]
            else syslog_time(logged_at, self._now)
        )
        # In quotes, and behind S=, stands what the client wrote: names in TLS, an identifier.
        told, _, _ = _QUOTED.sub("", arrived["rest"]).partition(" S=")
        return _made(moment, arrived["address"], " A=" in told)

    def _of_sendmail(self, moment: str, text: str) -> Delivery | None:
        user = _SENDMAIL_USER.match(text)
        if user is not None:
            self._users[user["id"]] = None
            if len(self._users) > MAX_REMEMBERED:
                del self._users[next(iter(self._users))]
            return None
        taken = _SENDMAIL.match(text)
        if taken is None:
            return None
        is_authenticated = taken["id"] in self._users
        return _made(syslog_time(moment, self._now), taken["address"], is_authenticated)


def syslog_time(text: str, now: datetime) -> datetime | None:
    """RFC 5424's time, or that of RFC 3164, which has no year: the latest that is not ahead."""
    try:
        if text[0].isdigit():
            return datetime.fromisoformat(text).astimezone(UTC)
        for year in (now.year, now.year - 1):
            # Of the machine's own zone, as syslog writes it.
            moment = datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S").astimezone(UTC)
            if moment <= now + timedelta(days=1):
                return moment
    except ValueError:
        pass
    return None


def _exim_time(text: str, zone: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text + zone.strip()).astimezone(UTC)
    except ValueError:
        return None


def _made(moment: datetime | None, address: str, is_authenticated: bool) -> Delivery | None:
    if moment is None:
        return None
    try:
        parsed = unmapped(Address.parse(address.removeprefix("IPv6:")))
    except Problem:
        return None
    return Delivery(moment, parsed, is_authenticated)
