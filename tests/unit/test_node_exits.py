"""Exit codes: part of the programs' contract."""

from __future__ import annotations

import pytest

from node.errors import ConfigurationError, StorageError
from node.exits import ExitCode, exit_code
from registry.errors import Problem, RootMismatchError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("no such file"), 2),
        (Problem("exists", "it is registered"), 3),
        (ConnectionRefusedError(), 4),
        (TimeoutError(), 4),
        (RootMismatchError("not what was signed"), 5),
        (StorageError("disk full"), 70),
        (ZeroDivisionError(), 70),
    ],
)
def test_errors_end_a_program_with_their_code(error: BaseException, code: int) -> None:
    """Scripts tell by the code who is at fault."""
    assert code == exit_code(error)


def test_codes_do_not_move() -> None:
    """What scripts rely on stays as it is."""
    assert {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "UNREACHABLE": 4,
        "UNVERIFIED": 5,
        "INTERNAL": 70,
        "INTERRUPTED": 130,
    } == {code.name: code.value for code in ExitCode}
