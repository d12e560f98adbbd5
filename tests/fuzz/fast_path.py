"""Fuzzes both fast paths and the bulk load: what they answer, the responder answers the same.

`make fuzz` runs it with the modules built for the address sanitizer in build/fuzz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

import secondary.dns.compiled

# Instead of those that the server runs.
BUILT = Path(__file__).parents[2] / "build/fuzz/secondary/dns/compiled"
secondary.dns.compiled.__path__.insert(0, str(BUILT))

from secondary.dns.compiled import answering  # noqa: E402

with atheris.instrument_imports(include=["secondary.dns.pure"]):
    import secondary.dns.pure.answering
from tests.support.fuzzing import check_answer  # noqa: E402


def main() -> None:
    """Runs libFuzzer, whose options are the arguments."""
    assert Path(answering.__file__).is_relative_to(BUILT), "not built: make fuzz"
    atheris.Setup(sys.argv, check_answer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
