from collections.abc import Callable

from secondary.dns.compiled.answering import FastPath
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.counters import AnswerCounter
from secondary.dns.transport import Answer

class BatchListener:
    def __init__(
        self,
        fd: int,
        fast: FastPath,
        get_table: Callable[[], CompiledTable | None],
        answer: Answer,
        counter: AnswerCounter,
        limited: list[int],
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
