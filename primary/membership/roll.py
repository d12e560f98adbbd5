"""The roll: nodes and tokens, in the primary's database and not in its log.

Any thread may ask, and any process, while the primary runs. Every method raises
StoreUnavailableError when the database refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from node.doorkeeper import BOARD
from primary.membership.judging import UsedTwiceError
from primary.membership.values import Node, Role, Ticket
from primary.store.database import Database
from primary.store.schema import former_keys, join_tokens, membership, nodes
from registry.errors import Problem

# As a token is found in a list by eye.
MIN_LABEL: Final = 4


@dataclass(frozen=True, slots=True)
class Edition:
    """Which state of the table of nodes this is, and until when strangers are taken in."""

    version: int
    adopt_until_ms: int


@dataclass(frozen=True, slots=True)
class Keys:
    """Nodes' keys, by their digests: whose may follow, and since when others may no more.

    Times in milliseconds since 1970. Whom the board removed is in neither, unless its name has
    joined with another key since: the log has the board's decision.
    """

    admitted: Mapping[bytes, Node]
    removed: Mapping[bytes, int]


# From what is known, by name: the ticket as it is to be, and the node.
Judge = Callable[[Ticket | None, Callable[[str], Node | None]], tuple[Ticket, Node]]


class Roll:
    """The roll of one registry, over connections of its own."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """Gives the connections back."""
        self._database.close()

    # --- nodes -----------------------------------------------------------------------

    def edition(self) -> Edition:
        """Which state this is: another number, and `nodes` has changed."""
        with self._database.reading() as connection:
            row = connection.execute(select(membership)).one()
        return Edition(row.version, row.adopt_until_ms)

    def nodes(self) -> list[Node]:
        """All, those removed too, by name."""
        with self._database.reading() as connection:
            return [_node(row) for row in connection.execute(select(nodes).order_by(nodes.c.name))]

    def node(self, name: str) -> Node | None:
        """The node of this name."""
        with self._database.reading() as connection:
            return _find(connection, name)

    def keys(self) -> Keys:
        """All that there ever were; a removed key that another name has is admitted."""
        with self._database.reading() as connection:
            former = [(row.key, row.removed_ms) for row in connection.execute(select(former_keys))]
            them = [_node(row) for row in connection.execute(select(nodes))]
        them.sort(key=lambda node: node.joined_ms)
        admitted = {node.key: node for node in them if not node.is_removed}
        gone = [(n.key, n.removed_ms) for n in them if n.is_removed and n.removed_by != BOARD]
        removed = dict(sorted([*former, *gone], key=itemgetter(1)))
        return Keys(admitted, {k: at for k, at in removed.items() if k and k not in admitted})

    def put(self, node: Node) -> None:
        """Takes a node in, in place of one of its name."""
        with self._database.writing() as connection:
            _put(connection, node)

    def put_all(self, them: Iterable[Node]) -> None:
        """Takes nodes in, in place of those of their names."""
        with self._database.writing() as connection:
            for node in them:
                _put(connection, node)

    def remove(self, name: str, by: str, now_ms: int) -> Node | None:
        """Lets the node follow no more; as it was, None if there is none that may follow."""
        with self._database.writing() as connection:
            node = _find(connection, name)
            if node is None or node.is_removed:
                return None
            _put(connection, replace(node, removed_ms=now_ms, removed_by=by))
        return node

    def saw(self, seen: Mapping[str, tuple[int, int]]) -> None:
        """When nodes were seen, and the ends of the certificates that they showed."""
        with self._database.writing() as connection:
            for name, (seen_ms, ends_ms) in seen.items():
                changed = update(nodes).where(nodes.c.name == name)
                connection.execute(changed.values(seen_ms=seen_ms, certificate_ends_ms=ends_ms))

    def adopt_until(self, until_ms: int) -> None:
        """Takes in whoever shows a good certificate, until then."""
        with self._database.writing() as connection:
            connection.execute(update(membership).values(adopt_until_ms=until_ms))

    # --- tokens ----------------------------------------------------------------------

    def tickets(self) -> list[Ticket]:
        """All tokens, the oldest first."""
        query = select(join_tokens).order_by(join_tokens.c.created_ms)
        with self._database.reading() as connection:
            return [_ticket(row) for row in connection.execute(query)]

    def add_ticket(self, ticket: Ticket, forget_before_ms: int) -> None:
        """Keeps a token, and forgets those that expired before."""
        with self._database.writing() as connection:
            old = join_tokens.c.expires_ms < forget_before_ms
            connection.execute(delete(join_tokens).where(old))
            connection.execute(insert(join_tokens), _row(ticket))

    def revoke(self, label: str, now_ms: int) -> Ticket:
        """Nobody joins with it any more; Problem "not_found" unless the label names one."""
        with self._database.writing() as connection:
            found = [_ticket(row) for row in connection.execute(select(join_tokens))]
            meant = [one for one in found if one.secret_hash.hex().startswith(label)]
            if len(meant) != 1 or len(label) < MIN_LABEL:
                raise Problem("not_found", f"{len(meant)} tokens begin with {label!r}", "token")
            (ticket,) = meant
            _put_ticket(connection, replace(ticket, revoked_ms=now_ms))
        return ticket

    def join(self, secret_hash: bytes, judge: Judge, now_ms: int) -> Node:
        """Takes in whom `judge` takes in, and marks the token, at once; what `judge` raises."""
        with self._database.writing() as connection:
            row = connection.execute(
                select(join_tokens).where(join_tokens.c.secret_hash == secret_hash)
            ).first()
            ticket = _ticket(row) if row else None
            try:
                used, node = judge(ticket, lambda name: _find(connection, name))
            except UsedTwiceError as error:
                if ticket is None:
                    raise
                _put_ticket(connection, replace(ticket, contested_ms=now_ms))
                refusal: Problem | None = error
            else:
                refusal = None
                _put_ticket(connection, used)
                before = _find(connection, node.name)
                if before is not None and before.key == node.key and not before.is_removed:
                    # Asked again after an answer that was lost.
                    node = before
                else:
                    _put(connection, node)
        if refusal is not None:
            raise refusal
        return node


def _find(connection: Connection, name: str) -> Node | None:
    row = connection.execute(select(nodes).where(nodes.c.name == name)).first()
    return _node(row) if row else None


def _put(connection: Connection, node: Node) -> None:
    before = _find(connection, node.name)
    if before is not None and before.key not in (b"", node.key):
        _keep(connection, before.key, before.removed_ms or node.joined_ms)
    connection.execute(delete(nodes).where(nodes.c.name == node.name))
    connection.execute(insert(nodes), _row(node))
    connection.execute(update(membership).values(version=membership.c.version + 1))


def _keep(connection: Connection, key: bytes, removed_ms: int) -> None:
    """Knows a key that its name has no more; certificates of it may be good for long."""
    connection.execute(delete(former_keys).where(former_keys.c.key == key))
    connection.execute(insert(former_keys), {"key": key, "removed_ms": removed_ms})


def _put_ticket(connection: Connection, ticket: Ticket) -> None:
    same = join_tokens.c.secret_hash == ticket.secret_hash
    connection.execute(delete(join_tokens).where(same))
    connection.execute(insert(join_tokens), _row(ticket))


def _row(value: Node | Ticket) -> dict[str, Any]:
    """A column for each field of the same name."""
    row = {each.name: getattr(value, each.name) for each in fields(value)}
    return row | {"role": value.role.value, "names": "".join(f"{n}\n" for n in value.names)}


def _node(row: Any) -> Node:
    return Node(**_values(row))


def _ticket(row: Any) -> Ticket:
    return Ticket(**_values(row))


def _values(row: Any) -> dict[str, Any]:
    values = dict(row._mapping)
    return values | {"role": Role(row.role), "names": tuple(row.names.split())}
