"""Errors as gRPC statuses, in one place; a Problem goes along whole, in the trailing metadata."""

from __future__ import annotations

from typing import Final, NoReturn

import grpc

from node.grpc_calls import Context, abort_busy
from primary.intake import BusyError, IntakeClosedError
from primary.services.conversion import MAX_PROBLEM_CHARACTERS, problem_message
from registry.errors import Problem, RegistryError

# What the database said is for the operator's log alone.
CANNOT_WRITE: Final = "the registry cannot write at the moment; try again"
CANNOT_READ: Final = "the registry cannot read at the moment; try again"

PROBLEM_KEY: Final = "smtpnic-problem-bin"

# What every other problem is: the request itself is wrong.
_DEFAULT_STATUS: Final = grpc.StatusCode.INVALID_ARGUMENT
_STATUSES: Final = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "exists": grpc.StatusCode.ALREADY_EXISTS,
    "not_yours": grpc.StatusCode.PERMISSION_DENIED,
    # Read, decide again, and repeat: what ABORTED asks for.
    "version": grpc.StatusCode.ABORTED,
    "in_use": grpc.StatusCode.FAILED_PRECONDITION,
    # It may be decided later, or is decided otherwise.
    "board": grpc.StatusCode.FAILED_PRECONDITION,
    # Another token may do.
    "token": grpc.StatusCode.FAILED_PRECONDITION,
    "quota": grpc.StatusCode.FAILED_PRECONDITION,
    "suspended": grpc.StatusCode.FAILED_PRECONDITION,
    "proof_required": grpc.StatusCode.FAILED_PRECONDITION,
}


async def abort_with_problem(context: Context, problem: Problem) -> NoReturn:
    """Ends the call with the problem's status."""
    await context.abort(
        _STATUSES.get(problem.code, _DEFAULT_STATUS),
        str(problem)[:MAX_PROBLEM_CHARACTERS],
        ((PROBLEM_KEY, problem_message(problem).SerializeToString()),),
    )


async def abort_unchanged(context: Context, error: RegistryError, retry_ms: int) -> NoReturn:
    """Ends a call whose change was not made; there may be room again in `retry_ms`."""
    match error:
        case Problem():
            await abort_with_problem(context, error)
        case BusyError():
            await abort_busy(context, str(error), retry_ms)
        case IntakeClosedError():
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        case _:
            await context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_WRITE)
