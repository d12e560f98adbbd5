"""What the programs' exit codes mean; documented in docs/errors.md."""

from __future__ import annotations

from enum import IntEnum

from node.errors import ConfigurationError
from registry.errors import Problem, VerificationError


class ExitCode(IntEnum):
    """How a program ended, for scripts."""

    OK = 0
    # It was done, and the answer is no: not found, not listed, a check that does not hold.
    FAILED = 1
    # As click, argparse and most shells' commands have it.
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    UNVERIFIED = 5
    # EX_SOFTWARE of sysexits.h.
    INTERNAL = 70
    # 128 and the number of SIGINT, as shells have it.
    INTERRUPTED = 130


def exit_code(error: BaseException) -> ExitCode:
    """The code that an error ends a program with; who cannot reach a peer says so itself."""
    match error:
        case ConfigurationError():
            return ExitCode.USAGE
        case Problem():
            return ExitCode.REFUSED
        case VerificationError():
            return ExitCode.UNVERIFIED
        case ConnectionError() | TimeoutError():
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.INTERNAL
