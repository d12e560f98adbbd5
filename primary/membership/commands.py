"""What the administrator does about tokens and nodes; the primary may run meanwhile."""

from __future__ import annotations

import re
import secrets
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.certificates import fingerprints, show
from node.doorkeeper import ADMINISTRATOR
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.times import time_text
from node.tls import read_certificates
from primary.clock import clock_ms
from primary.enrolment import load_authority, public_of, take_in, upstream_of
from primary.membership.roll import Roll
from primary.membership.values import HOUR_MS, Node, Role, Ticket
from primary.pki import Names, names_of
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.store import Store
from registry.errors import Problem
from registry.join_token import SECRET_BYTES, JoinToken
from registry.node_name import check_node_name

MAX_LIFE_MS: Final = 90 * 24 * HOUR_MS
# Tokens that ended are shown for so long.
KEEP_MS: Final = 90 * 24 * HOUR_MS

_UNITS: Final = {"s": 1000, "m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}
_LIFE: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def parse_life(text: str) -> int:
    """Milliseconds of a time such as 30m, 12h or 7d; ConfigurationError."""
    found = _LIFE.fullmatch(text)
    life_ms = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < life_ms <= MAX_LIFE_MS:
        raise ConfigurationError(f"{text!r}: expected a time such as 30m, 12h or 7d, 90d at most")
    return life_ms


def create_token(
    settings: PrimarySettings,
    *,
    name: str,
    role: Role,
    operator: str,
    names: Names | None,
    life_ms: int,
    at: Endpoint | None,
    upstream: Endpoint | None,
) -> tuple[str, Ticket]:
    """Makes a token and keeps its hash. The token itself is told this once.

    ConfigurationError: without the authority's key nobody could join. Problem "name".
    """
    if name:
        check_node_name(name)
    load_authority(settings)
    secret, now_ms = secrets.token_bytes(SECRET_BYTES), clock_ms()
    (authority, *_) = fingerprints(read_certificates(settings.tls.ca))
    token = JoinToken(settings.origin, str(at or public_of(settings)), authority, secret, name)
    ticket = Ticket(
        sha256(secret).digest(),
        name,
        role,
        operator,
        names.texts if names else (),
        str(upstream or upstream_of(settings)),
        now_ms,
        now_ms + life_ms,
    )
    with closing(Roll(settings.store_url)) as roll:
        known = roll.node(name) if name else None
        if known is not None and not known.is_removed:
            raise Problem("exists", f"{name} is a node already: choose another name", "name")
        roll.add_ticket(ticket, now_ms - KEEP_MS)
    return token.encode(), ticket


def list_tokens(settings: PrimarySettings) -> list[Ticket]:
    """All that are not long over."""
    with closing(Roll(settings.store_url)) as roll:
        return roll.tickets()


def revoke_token(settings: PrimarySettings, text: str) -> Ticket:
    """By its label, or by the token itself; who has joined with it stays. Problem "not_found"."""
    label = text
    if text.startswith("smtpnicjoin"):
        label = sha256(JoinToken.parse(text).secret).hexdigest()
    with closing(Roll(settings.store_url)) as roll:
        return roll.revoke(label, clock_ms())


def list_nodes(settings: PrimarySettings) -> list[Node]:
    """All, those removed too."""
    with closing(Roll(settings.store_url)) as roll:
        return roll.nodes()


def remove_node(settings: PrimarySettings, name: str) -> None:
    """Lets a follower follow no more; a running primary cuts it off within a second or two.

    Problem "board": the board admitted it, so that is for the board; "not_found".
    """
    signer = load_keys(settings).log
    with closing(Store(settings.store_url)) as store:
        signer.restore(store.reader)
    if name in signer.board.mirrors:
        raise Problem(
            "board",
            f"the board admitted {name} to the A record set, so the board removes it: "
            f"smtpnic board propose FILE remove {name} --reason TEXT",
        )
    with closing(Roll(settings.store_url)) as roll:
        if roll.remove(name, ADMINISTRATOR, clock_ms()) is None:
            raise Problem("not_found", f"no node {name} follows: see 'node list'", "name")


def add_node(settings: PrimarySettings, certificate: Path, role: Role, operator: str) -> Node:
    """Takes in a node whose certificate, by the authority, was made elsewhere.

    ConfigurationError: it is no certificate. Problem: its name is none, or another node's.
    """
    pem = read_certificates(certificate)
    shown = show(pem)
    node = Node(
        check_node_name(shown.name), shown.key, role, operator, names_of(pem).texts, clock_ms()
    )
    take_in(settings, node)
    return node


def adopt_nodes(settings: PrimarySettings, life_ms: int) -> None:
    """For so long takes in whoever has a good certificate and is not on the roll."""
    with closing(Roll(settings.store_url)) as roll:
        roll.adopt_until(clock_ms() + life_ms)


def ticket_json(ticket: Ticket) -> dict[str, Any]:
    """A token under plain keys; nothing that anyone could join with."""
    return {
        "token": ticket.label,
        "state": ticket.state(clock_ms()),
        "name": ticket.used_name or ticket.name,
        "role": ticket.role.value,
        "operator": ticket.operator,
        "names": list(ticket.names),
        "created_ms": ticket.created_ms,
        "expires_ms": ticket.expires_ms,
        "used_ms": ticket.used_ms,
        "contested_ms": ticket.contested_ms,
    }


def ticket_line(ticket: Ticket) -> str:
    """The same for people."""
    name = ticket.used_name or ticket.name or "any name"
    words = [
        f"{ticket.label}  {ticket.state(clock_ms()):<8} {name}, {ticket.role.value}",
        f"until {time_text(ticket.expires_ms)}",
    ]
    if ticket.operator:
        words.append(ticket.operator)
    if ticket.used_ms:
        words.append(f"used {time_text(ticket.used_ms)}")
    if ticket.contested_ms:
        words.append(f"ANOTHER KEY CAME WITH IT {time_text(ticket.contested_ms)}")
    return ", ".join(words)


def node_json(node: Node) -> dict[str, Any]:
    """A node under plain keys."""
    return {
        "name": node.name,
        "status": "removed" if node.is_removed else "follows",
        "role": node.role.value,
        "operator": node.operator,
        "names": list(node.names),
        "key": node.key.hex(),
        "joined_ms": node.joined_ms,
        "seen_ms": node.seen_ms,
        "certificate_ends_ms": node.certificate_ends_ms,
        "removed_ms": node.removed_ms,
        "removed_by": node.removed_by,
    }


def node_line(node: Node) -> str:
    """The same for people."""
    words = [f"{node.name}  {'removed' if node.is_removed else 'follows'}, {node.role.value}"]
    if node.operator:
        words.append(node.operator)
    words += [f"at {' '.join(node.names)}"] if node.names else []
    words.append(f"joined {time_text(node.joined_ms)}")
    words.append(f"seen {time_text(node.seen_ms)}" if node.seen_ms else "never seen")
    if node.certificate_ends_ms:
        words.append(f"certificate until {time_text(node.certificate_ends_ms)}")
    if node.is_removed:
        words.append(f"removed {time_text(node.removed_ms)} by the {node.removed_by}")
    return ", ".join(words)
