"""What can go wrong for a person at the command line beyond what `registry` and `node` name."""

from __future__ import annotations

from typing import Final

from node.errors import StorageError
from node.exits import ExitCode, exit_code
from registry.errors import Problem, RegistryError

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 not found, or something is wrong; 2 command line or configuration; "
    "3 refused by the registry; 4 a server cannot be reached, or failed; 5 what a server gave "
    "is not what the registry signed; 70 a fault in this program; 130 interrupted."
)


# The code of the problem that says: show it first.
PROOF_REQUIRED: Final = "proof_required"


class UnreachableError(RegistryError):
    """A server did not answer as it should. `may_pass`: waiting and trying again may help."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class NotFoundError(Problem):
    """The registry has no such record."""


class Interrupted(BaseException):
    """The person, or the machine, asked the command to stop; as hard to swallow as Ctrl-C."""


def code_of(error: BaseException) -> int:
    """The exit code of an error."""
    match error:
        case Interrupted():
            return ExitCode.INTERRUPTED
        case NotFoundError() | StorageError():
            return ExitCode.FAILED
        case UnreachableError():
            return ExitCode.UNREACHABLE
        case _:
            return exit_code(error)
