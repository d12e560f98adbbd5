"""Many applications, as a stream of changes: for a registry that asks for proofs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from registry.errors import Problem
from smtpnic.client.primary import Primary
from smtpnic.client.registering import Registering
from smtpnic.errors import NotFoundError
from smtpnic.holder_key import HolderKey
from smtpnic.importing import EXISTS
from smtpnic.rows import Row
from smtpnic.views import ApplicationView, FindingView

# Each waits for name servers and not for the primary; others apply there too.
APPLICATIONS_AT_ONCE: Final = 8


class ApplicationStream:
    """An application for each row, begun or gone on with, as a SubmitStream takes changes.

    What is all shown is registered; of anything else Problem "not_shown" says what is left to do,
    and its application waits for that.
    """

    def __init__(self, primary: Primary, desk: Registering, key: HolderKey) -> None:
        self._primary = primary
        self._desk = desk
        self._key = key
        self._chunks: deque[tuple[Sequence[Row], bool]] = deque()
        self._pool = ThreadPoolExecutor(APPLICATIONS_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def register(self, rows: Sequence[Row]) -> None:
        """Takes rows, none of which is to change a registration of the holder's."""
        self._chunks.append((rows, False))

    def update(self, rows: Sequence[Row]) -> None:
        """Takes rows that may."""
        self._chunks.append((rows, True))

    def receive(self) -> list[int | Problem]:
        """The outcomes of the oldest chunk that was not yet received: log indexes or Problems.

        UnreachableError when the primary cannot be reached.
        """
        rows, may_update = self._chunks.popleft()
        return list(self._pool.map(lambda row: self._outcome(row, may_update=may_update), rows))

    def _outcome(self, row: Row, *, may_update: bool) -> int | Problem:
        try:
            if not may_update:
                self._check_unchanged(row)
            view = self._desk.begin(self._key, row.address, row.host, row.domain, ())
        except Problem as problem:
            return problem
        return _left_to_do(view) if view.receipt is None else view.receipt.index

    def _check_unchanged(self, row: Row) -> None:
        try:
            now = self._primary.get(row.address).registration
        except NotFoundError:
            return
        names = (row.host or now.host, row.domain or now.domain)
        if now.holder_id == self._key.holder_id and names != (now.host, now.domain):
            raise Problem(EXISTS, f"{row.address} is registered with other names", "address")


def _left_to_do(view: ApplicationView) -> Problem:
    left = [finding for finding in view.findings if finding.verdict != "held"]
    return Problem("not_shown", "; ".join(map(_advice, left)), "")


def _advice(finding: FindingView) -> str:
    advice = f"{finding.condition}: {finding.found}"
    return f"{advice} (to do: {finding.mend})" if finding.mend else advice
