"""Whether a node may join with a token: what is known and the time in, a node or a Problem out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from node.times import time_text
from primary.membership.values import Asked, Node, Ticket
from primary.pki import Names
from registry.errors import Problem
from registry.node_name import check_node_name

ANOTHER = "ask the primary's operator for another"


class UsedTwiceError(Problem):
    """A token that came again, with another key: one of the two was not meant."""


def check_ticket(ticket: Ticket | None, key: bytes, now_ms: int) -> Ticket:
    """The ticket if this key may join with it now; Problem "token", UsedTwiceError."""
    if ticket is None:
        raise Problem("token", f"the token is not known here: {ANOTHER}", "token")
    if ticket.revoked_ms:
        raise Problem("token", f"the token was revoked: {ANOTHER}", "token")
    if ticket.used_ms and ticket.used_key != key:
        raise UsedTwiceError(
            "token",
            f"the token was used at {time_text(ticket.used_ms)} by {ticket.used_name}, with "
            f"another key: if that was not you, tell the primary's operator at once; {ANOTHER}",
            "token",
        )
    if now_ms >= ticket.expires_ms:
        raise Problem(
            "token", f"the token expired at {time_text(ticket.expires_ms)}: {ANOTHER}", "token"
        )
    return ticket


def check_name(ticket: Ticket, asked: Asked) -> str:
    """What the node is called; Problem "name" for a name that the token does not give."""
    fixed = ticket.used_name or ticket.name
    name = asked.name or fixed
    if not name:
        raise Problem("name", "the token leaves the name open: give --name", "name")
    if fixed and name != fixed:
        raise Problem("name", f"the token is for {fixed}, not for {name}: leave --name out", "name")
    return check_node_name(name)


def check_free(node: Node | None, ticket: Ticket, key: bytes) -> None:
    """Problem "exists": the name is another node's; "token": it has to join anew."""
    if node is None or (node.key == key and not node.is_removed):
        return
    if not node.is_removed:
        raise Problem("exists", f"{node.name} is another node's name: choose another", "name")
    if ticket.created_ms <= node.removed_ms:
        raise Problem(
            "token",
            f"{node.name} was removed after this token was made: {ANOTHER}",
            "token",
        )


def check_names(ticket: Ticket, asked: Asked, is_own: Callable[[str], bool]) -> Names:
    """What the certificate is good for; Problem "names" for what the node may not be known by.

    `is_own` tells the primary's own names, which no node may have.
    """
    allowed = set(ticket.names) or {asked.peer}
    names = tuple(dict.fromkeys(asked.names or ticket.names or (asked.peer,)))
    for name in names:
        if name not in allowed:
            raise Problem(
                "names",
                f"the token does not allow a certificate for {name}: ask for one made with "
                f"--address or --host {name}",
                "names",
            )
        if is_own(name):
            raise Problem("names", f"{name} is the primary's own", "names")
    return Names.of(names)


def joined(
    ticket: Ticket, asked: Asked, name: str, names: Names, now_ms: int
) -> tuple[Ticket, Node]:
    """What is kept of a node that joins."""
    node = Node(name, asked.key, ticket.role, ticket.operator, names.texts, now_ms)
    used_ms = ticket.used_ms or now_ms
    return replace(ticket, used_ms=used_ms, used_key=asked.key, used_name=name), node
