"""How an error ends a server's program, whatever reads its command line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from node.exits import ExitCode, exit_code
from registry.errors import RegistryError


def run_to_end(name: str, call: Callable[[], object]) -> int:
    """Calls what a program is there for; its exit code, after saying what was wrong."""
    # What gRPC would log to standard error is in the errors that it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # It would start threads in every child between fork and exec, and some children die of that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        call()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the outermost place
        return _report(f"{name}: {error}", error)
    return ExitCode.OK


def _report(text: str, error: Exception) -> ExitCode:
    code = exit_code(error)
    if code == ExitCode.INTERNAL:
        if not isinstance(error, RegistryError):
            traceback.print_exc()
            return code
        # A refusal to start, a fence, a full disk: known, and said in its text.
        code = ExitCode.FAILED
    sys.stderr.write(f"{text}\n")
    return code
