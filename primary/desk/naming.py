"""The names of a mail server, where a person gives the address alone."""

from __future__ import annotations

from typing import Final

from primary.desk.looking import Looker
from primary.desk.terms import Ask
from primary.registering.judging import Subject
from registry.address import Address
from registry.errors import Problem
from registry.names import parse_host
from registry.observations import Outcome

_LABELS_OF_A_DOMAIN: Final = 2


async def subject_of(ask: Ask, looker: Looker) -> Subject:
    """The names that were given, or what the PTR record makes of them; Problem "host" if neither.

    A host's domain is what stands behind its first label, where that is a domain.
    """
    host = parse_host(ask.host, "host") if ask.host else await _host(ask.address, looker)
    domain = ask.domain
    if not domain:
        _, _, parent = host.partition(".")
        domain = parent if parent.count(".") + 1 >= _LABELS_OF_A_DOMAIN else host
    return Subject(ask.holder_id, ask.address, host, domain)


async def _host(address: Address, looker: Looker) -> str:
    answer = await looker.pointer(address)
    names = sorted(answer.values)
    if len(names) == 1:
        return names[0]
    if names:
        raise Problem(
            "host", f"{address} has several names: choose one of {', '.join(names)}", "host"
        )
    if answer.outcome is Outcome.FAILED:
        raise Problem("host", f"{answer.detail}; try again, or give the host name", "host")
    raise Problem(
        "host",
        f"{address} has no PTR record; ask whoever gave you the address for one, that names "
        "your mail server",
        "host",
    )
