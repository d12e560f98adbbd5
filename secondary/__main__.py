"""`smtpnic-secondary`, and `python -m secondary`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from node.program import run_to_end
from secondary.settings import Role


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command (None: as the process was called); returns its exit code.

    `ROLE -c FILE`, as roles are started by the supervisor and in containers, does without what
    reads command lines: it would stay in memory for as long as the role runs.
    """
    given = sys.argv[1:] if arguments is None else arguments
    match given:
        case [name, "-c", file] if name in tuple(Role):
            from secondary.role_process import run_role  # noqa: PLC0415

            return run_to_end("smtpnic-secondary", lambda: run_role(Role(name), Path(file)))
    from secondary.cli import main as run_command  # noqa: PLC0415

    return run_command(given)


if __name__ == "__main__":
    sys.exit(main())
