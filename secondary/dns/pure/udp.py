"""DNS over UDP in pure Python: one socket and one thread, the fast path before the responder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from node.endpoint import Endpoint
from secondary.dns.pure.answering import FastPath
from secondary.dns.pure.datagrams import Datagrams
from secondary.dns.table import DictTable
from secondary.dns.transport import Answer, answer_or_silence, log_failure
from secondary.dns.udp import ListenUdp, SocketListener

GetTable = Callable[[], DictTable | None]
_Query = tuple[bytes, bytes]


def pure_listeners(fast: FastPath, table: GetTable) -> ListenUdp:
    """What makes the listener of an endpoint."""
    return lambda endpoint, answer: [PureUdpListener(endpoint, answer, fast, table)]


class PureUdpListener(SocketListener):
    """Serves an endpoint alone: a second thread would wait for the first one's lock."""

    def __init__(self, endpoint: Endpoint, answer: Answer, fast: FastPath, table: GetTable) -> None:
        """`answer` is asked for what `fast` declines, and for all while `table` gives none."""
        super().__init__(endpoint)
        self._datagrams = Datagrams(self._socket)
        self._answer, self._fast, self._table = answer, fast, table

    def _serve(self) -> None:
        while not self._stopping:
            queries = self._datagrams.receive()
            if queries:
                began_ns = time.monotonic_ns()
                answers = self._ask_fast(queries)
                self._send(answers)
                declined = 0
                # As a rule all are there, and to compare each would cost more than to count them.
                if not all(answers):
                    declined = answers.count(None)
                    self.counter.ignored += answers.count(b"")
                self._note_time(len(queries) - declined, began_ns)
                if declined:
                    self._ask_slow(queries, answers)
                    self._note_time(declined, began_ns)

    def _note_time(self, answers: int, began_ns: int) -> None:
        self.counter.took(answers, (time.monotonic_ns() - began_ns) // 1000)

    def _ask_fast(self, queries: Sequence[_Query]) -> list[bytes | None]:
        # Asked for each batch: a table that was replaced answers no more.
        table = self._table()
        if table is None:
            return [None] * len(queries)
        now_s, now_us = int(time.time()), time.monotonic_ns() // 1000
        try:
            answers = self._fast.answer_all(table, self.counter.answers, queries, now_s, now_us)
        except Exception:  # noqa: BLE001 - whatever it is: the responder is asked instead
            log_failure(self.counter, b"".join(wire for wire, _ in queries))
            return [None] * len(queries)
        return answers

    def _ask_slow(self, queries: Sequence[_Query], answers: Sequence[bytes | None]) -> None:
        """Has the responder answer what was declined; nobody else waits for it."""
        for place, (wire, client) in enumerate(queries):
            if answers[place] is None:
                reply = answer_or_silence(self._answer, wire, self.counter, client)
                if reply is not None:
                    self.counter.answered(reply)
                    self._send([*[None] * place, reply])

    def _send(self, answers: Sequence[bytes | None]) -> None:
        self.counter.ignored += self._datagrams.answer(answers)
