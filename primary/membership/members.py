"""Who may call the listener for nodes: asked at every call; who is removed is cut off at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from node.certificates import Shown
from node.doorkeeper import ADMINISTRATOR, BOARD, Doorkeeper, concerns, removed
from node.gate import NotAdmittedError, Visit
from node.logging import get_logger
from node.workers import Workers
from primary.membership.roll import Edition, Roll
from primary.membership.values import Node, Role, may_call
from primary.pki import names_of
from primary.store.errors import StoreUnavailableError

# How soon what another process did is seen here: `node remove`, `enroll`.
POLL_SECONDS: Final = 1.0
# How old `seen` may be in the table.
SEEN_SECONDS: Final = 10.0

_log = get_logger("members")


class Members:
    """The nodes as they stand; for the event loop's thread only."""

    def __init__(
        self,
        roll: Roll,
        clerk: Workers,
        clock: Callable[[], int],
        removals: Callable[[], Mapping[str, int]],
        is_removed_key: Callable[[bytes], bool],
    ) -> None:
        """`clerk` runs what asks the roll or the log; `clock` gives milliseconds.

        `removals` are the board's, as of `Board.removals`, as they are when asked for;
        `is_removed_key` says whether the log has a key as removed (StoreUnavailableError).
        """
        self._roll = roll
        self._clerk = clerk
        self._clock = clock
        self._removals = removals
        self._is_removed_key = is_removed_key
        # Another edition of the roll was read.
        self.changed = asyncio.Event()
        self._edition = Edition(0, 0)
        self._nodes: dict[str, Node] = {}
        self._door = Doorkeeper(clock)
        self._seen: dict[str, tuple[int, int]] = {}

    @property
    def nodes(self) -> list[Node]:
        """All that are known, as last read."""
        return list(self._nodes.values())

    def find(self, name: str) -> Node | None:
        """The node of this name, as last read."""
        return self._nodes.get(name)

    async def enter(self, certificate: bytes, method: str) -> Visit:
        """As of `node.gate.Gate`."""
        shown = self._door.look(certificate)
        node = await self._know(shown, certificate)
        if not may_call(node.role, method):
            raise NotAdmittedError(
                f"{node.name} is a {node.role.value}, which may not call {method}", is_known=True
            )
        self._seen[node.name] = (self._clock(), shown.ends_ms)
        return self._door.let_in(shown)

    async def refresh(self) -> None:
        """Reads the table if it has changed, and cuts off who may follow no more."""
        edition = await self._clerk.run(self._roll.edition)
        if edition == self._edition:
            return
        found = await self._clerk.run(self._roll.nodes)
        self._nodes = {node.name: node for node in found}
        self._edition = edition
        self.changed.set()
        for shown in self._door.inside:
            node = self._nodes.get(shown.name)
            if node is None or node.is_removed or node.key != shown.key:
                self._cut(shown, node)

    async def remove(self, name: str, decided_ms: int) -> None:
        """The board has decided so; a node that joined later is another matter."""
        node = await self._clerk.run(self._roll.node, name)
        if node is not None and concerns(decided_ms, node.joined_ms):
            await self._clerk.run(self._roll.remove, name, BOARD, self._clock())
        elif node is None:
            # Whoever still has a certificate of this name is not taken in.
            gone = Node(name, b"", Role.MIRROR, "", (), decided_ms, 0, 0, decided_ms, BOARD)
            await self._clerk.run(self._roll.put, gone)
        await self.refresh()

    async def run(self) -> None:
        """Until it is cancelled."""
        noted = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.refresh()
                await self._catch_up()
                if self._seen and loop.time() - noted >= SEEN_SECONDS:
                    noted, seen, self._seen = loop.time(), self._seen, {}
                    await self._clerk.run(self._roll.saw, seen)
            except StoreUnavailableError as error:
                _log.warning("members.unread", reason=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def _catch_up(self) -> None:
        """Removes whom the board removed while the roll could not be written."""
        for name, decided_ms in self._removals().items():
            node = self._nodes.get(name)
            if node is not None and not node.is_removed and concerns(decided_ms, node.joined_ms):
                await self.remove(name, decided_ms)

    async def _know(self, shown: Shown, certificate: bytes) -> Node:
        """The node that shows this; NotAdmittedError."""
        try:
            return self._check(shown)
        except NotAdmittedError:
            # Another process may have changed the table a moment ago.
            pass
        try:
            await self.refresh()
            if shown.name not in self._nodes and self._clock() < self._edition.adopt_until_ms:
                await self._adopt(shown, certificate)
        except StoreUnavailableError as error:
            raise NotAdmittedError(
                f"nobody can be looked up now: {error}", is_known=False
            ) from None
        return self._check(shown)

    def _check(self, shown: Shown) -> Node:
        node = self._nodes.get(shown.name)
        if node is None:
            raise NotAdmittedError(
                f"no node {shown.name or 'without a name'} is known here: join with a token, or "
                "have the primary's operator run 'smtpnic-primary node add'",
                is_known=False,
            )
        if node.is_removed:
            raise removed(node.name, node.removed_by)
        decided_ms = self._removals().get(node.name)
        if decided_ms is not None and concerns(decided_ms, node.joined_ms):
            raise removed(node.name, BOARD)
        if node.key != shown.key:
            raise NotAdmittedError(
                f"{node.name} has another key than this certificate: it may be a copy of an older "
                "one; join again with a new token",
                is_known=False,
            )
        return node

    async def _adopt(self, shown: Shown, certificate: bytes) -> None:
        decided_ms = self._removals().get(shown.name)
        if decided_ms is not None and concerns(decided_ms, shown.begins_ms):
            # Of a recovered registry the roll may be lost, and the log is not.
            raise removed(shown.name, BOARD)
        if await self._clerk.run(self._is_removed_key, shown.key):
            raise removed(shown.name, ADMINISTRATOR)
        names = names_of(certificate).texts
        node = Node(shown.name, shown.key, Role.MIRROR, "", names, self._clock())
        await self._clerk.run(self._roll.put, node)
        _log.warning("node.adopted", node=shown.name, names=names)
        await self.refresh()

    def _cut(self, shown: Shown, node: Node | None) -> None:
        name = shown.name
        gone = node or Node(name, b"", Role.MIRROR, "", (), 0)
        reason = (
            removed(name, gone.removed_by)
            if node is None or node.is_removed
            else NotAdmittedError(f"{name} has joined anew, with another key", is_known=True)
        )
        self._door.cut(shown, reason, gone.removed_by)
