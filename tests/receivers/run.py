"""make test-receivers: each mail server's tests in an isolation of their own, some at a time.

    python -m tests.receivers.run [NAME...]

Fails where the kernel does not allow the isolation: nothing is skipped silently.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ISOLATE: Final = ROOT / "scripts" / "isolate"
# Most of the time a test waits for something: there may be more of them than cores.
SIDE_BY_SIDE: Final = 4
LIMIT_SECONDS: Final = 1800
# Of each test, the longest waits for a silent resolver.
TEST_SECONDS: Final = 400


@dataclass(frozen=True)
class Suite:
    """Tests of one mail server, in one isolation on top of its layer."""

    name: str
    layer: str
    files: tuple[str, ...]


PACKAGES: Final = {
    "sendmail": ("sendmail-bin", "sendmail", "unbound", "sasl2-bin"),
    "postfix": ("postfix", "libsasl2-modules", "sasl2-bin"),
    "exim": ("exim4-daemon-light",),
    "opensmtpd": ("opensmtpd",),
    "rspamd": ("rspamd",),
    "spamassassin": ("spamassassin", "spamd", "spamc"),
}
# The longest first. The page's commands meet a server as its package leaves it: apart.
SUITES: Final = (
    Suite("story", "sendmail", ("test_story.py",)),
    Suite("policyd-page", "postfix", ("test_policyd_page.py",)),
    Suite("postfix", "postfix", ("test_isolation.py", "test_postfix.py")),
    *(
        Suite(name, name, (f"test_{name}.py",))
        for name in ("sendmail", "exim", "opensmtpd", "rspamd", "spamassassin")
    ),
    *(Suite(f"{name}-page", name, ("test_page.py",)) for name in PACKAGES),
)


def make_layer(name: str) -> None:
    """Installs the mail server's packages, unless they are there."""
    subprocess.run([ISOLATE, "layer", name, *PACKAGES[name]], check=True)


def run_suite(suite: Suite) -> tuple[Suite, int, str, float]:
    """Runs the tests; how pytest ended, what it said, and in how many seconds."""
    command = [
        # It ends all of the isolation: the signal is for its whole process group.
        *("timeout", "--kill-after=10", str(LIMIT_SECONDS)),
        str(ISOLATE),
        "run",
        suite.layer,
        sys.executable,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        # Servers are started once a mode: the order is that of the file.
        *("-p", "no:randomly", f"--timeout={TEST_SECONDS}"),
        *("--reruns=1", "--max-suite-reruns=2", "--rerun-show-tracebacks"),
        *(
            f"tests/receivers/{file}"
            for file in suite.files
            if (ROOT / "tests/receivers" / file).exists()
        ),
    ]
    started = time.monotonic()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"SMTPNIC_TEST_SERVER": suite.layer},
    )
    return suite, done.returncode, done.stdout, time.monotonic() - started


def main(names: Sequence[str]) -> int:
    """Runs the suites of these names, or all; 1 if one failed."""
    suites = [suite for suite in SUITES if not names or {suite.name, suite.layer} & set(names)]
    try:
        for name in dict.fromkeys(suite.layer for suite in suites):
            make_layer(name)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    failed = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = [pool.submit(run_suite, suite) for suite in suites]
        for done in as_completed(running):
            suite, code, output, seconds = done.result()
            sys.stdout.write(
                f"== {suite.name}: {'ok' if code == 0 else 'FAILED'}, {seconds:.0f} s\n"
            )
            told = code != 0 or "RERUN" in output
            sys.stdout.write(output if told else "".join(output.splitlines(keepends=True)[-1:]))
            sys.stdout.flush()
            failed += code != 0
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
