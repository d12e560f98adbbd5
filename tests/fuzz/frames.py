"""Fuzzes the AF_XDP front: what comes as frames, and what goes.

`make fuzz` runs it with the modules built for the address sanitizer in build/fuzz, the front among
them on a kernel that is not there (xdp.h).
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

import secondary.dns.compiled

BUILT = Path(__file__).parents[2] / "build/fuzz"
# Instead of those that the server runs.
secondary.dns.compiled.__path__.insert(0, str(BUILT / "secondary/dns/compiled"))

from secondary.dns.compiled import listener  # noqa: E402
from tests.support.frame_fuzzing import FrameFuzzing, load  # noqa: E402


def main() -> None:
    """Runs libFuzzer, whose options are the arguments."""
    assert Path(listener.__file__).is_relative_to(BUILT), "not built: make fuzz"
    atheris.Setup(sys.argv, FrameFuzzing(load(BUILT)).check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
