"""Loads the table file of a secondary as its DNS does at a restart; prints the seconds.

    python -m bench.table_file SECONDARY.toml

Nothing else happens in the process, and the secondary should not run.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

from lab.process import LabError
from secondary.dns.compiled.table import CompiledTable
from secondary.loading import load_file
from secondary.roots import Roots
from secondary.settings import SecondarySettings
from secondary.trust import Trust


def load_seconds(settings: SecondarySettings) -> tuple[int, float]:
    """How many names the file has, and how long it took until the state root was that signed."""
    path = settings.dns_table_file
    if path is None:
        raise LabError("dns.table_file is switched off")
    trust = Trust(Roots.load(settings))
    began = time.monotonic()
    loaded = load_file(path, settings.layout, trust, CompiledTable(), threading.Event())
    took = time.monotonic() - began
    if loaded is None:
        raise LabError(f"there is no {path}")
    return len(loaded.view), took


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.table_file", description=__doc__)
    parser.add_argument("settings", type=Path, help="the secondary's configuration")
    names, seconds = load_seconds(SecondarySettings.load(parser.parse_args().settings))
    print(names, round(seconds, 3))


if __name__ == "__main__":
    main()
