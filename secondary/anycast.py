"""Has a router announce this node's addresses while its DNS server answers well."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final

from secondary.health import DRAINED, why_not
from secondary.settings import SecondarySettings

# So many looks in a row that say the opposite of what was said.
FALL: Final = 3
RISE: Final = 3
BIRD_SECONDS: Final = 5.0
# `enable` and `disable` answer with one of these after the protocol's name.
_BIRD_SAYS: Final = (": enabled", ": disabled", ": already enabled", ": already disabled")


@dataclass(slots=True)
class Watch:
    """Whether this node is announced: not at the first stumble, for routes that flap are damped."""

    is_announced: bool = False
    _against: int = 0

    def see(self, reason: str) -> bool:
        """After one more look, and why nobody should be sent here, or empty."""
        if reason == DRAINED:
            # Somebody waits for it.
            self.is_announced, self._against = False, 0
            return False
        self._against = 0 if bool(reason) != self.is_announced else self._against + 1
        if self._against >= (FALL if self.is_announced else RISE):
            self.is_announced, self._against = not self.is_announced, 0
        return self.is_announced


def watch(settings: SecondarySettings, every: float, tell: Callable[[bool], None]) -> None:
    """Tells after each look whether this node is to be announced, until a signal; then that not."""
    ending, seen = Event(), Watch()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    while not ending.is_set():
        tell(seen.see(why_not(settings)))
        ending.wait(every)
    tell(False)


def exabgp_routes(prefixes: Sequence[str], say: Callable[[str], None]) -> Callable[[bool], None]:
    """Says to ExaBGP which routes to announce and to withdraw, when that changes."""
    said: list[bool] = []

    def tell(is_announced: bool) -> None:
        if said[-1:] == [is_announced]:
            return
        said[:] = [is_announced]
        for prefix in prefixes:
            say(f"{'announce' if is_announced else 'withdraw'} route {prefix} next-hop self")

    return tell


def bird_protocol(name: str, socket: str, warn: Callable[[str], None]) -> Callable[[bool], None]:
    """Enables and disables a protocol of BIRD, each time: BIRD may have been restarted.

    `socket` is BIRD's control socket; empty: where birdc looks by itself.
    """
    command = ["birdc", *(["-s", socket] if socket else [])]
    said: list[str] = []

    def tell(is_announced: bool) -> None:
        words = [*command, "enable" if is_announced else "disable", name]
        problem = _run(words)
        if problem and said[-1:] != [problem]:
            warn(problem)
        said[:] = [problem]

    return tell


def _run(words: Sequence[str]) -> str:
    """What went wrong; empty if nothing did."""
    try:
        done = subprocess.run(  # noqa: S603 - birdc, and the operator's words
            words, capture_output=True, text=True, timeout=BIRD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"birdc: {error}"
    # birdc ends with 0 whatever BIRD says.
    lines = (done.stdout + done.stderr).strip().splitlines()
    last = lines[-1] if lines else ""
    return "" if last.endswith(_BIRD_SAYS) else last or f"birdc ended with {done.returncode}"
