"""A network namespace at the other end of a line (`bench.line`). Needs root, TUN and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NETWORK: Final = "10.213.77"
NEAR: Final = f"{NETWORK}.10"
FAR: Final = f"{NETWORK}.11"
_NAMESPACE: Final = f"smtpnic-{os.getpid()}"
_NEAR_DEVICE: Final = f"sn{os.getpid()}"
_FAR_DEVICE: Final = f"sf{os.getpid()}"

# Sets the round trip in milliseconds, and the percentage of packets lost each way.
Slow = Callable[[float, float], None]


def is_possible() -> bool:
    """Whether a namespace and a line can be made here."""
    return os.geteuid() == 0 and shutil.which("ip") is not None and Path("/dev/net/tun").exists()


def inside(command: list[str]) -> list[str]:
    """The command, run in the namespace."""
    return ["ip", "netns", "exec", _NAMESPACE, *command]


@contextmanager
def namespace() -> Iterator[Slow]:
    """The namespace, on a line that is fast until it is made slow; gone afterwards."""
    _run("ip", "netns", "add", _NAMESPACE)
    command = [sys.executable, "-m", "bench.line", _NEAR_DEVICE, _FAR_DEVICE]
    line = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert line.stdin is not None
    assert line.stdout is not None
    control = line.stdin

    def slow(round_trip_ms: float, loss_percent: float) -> None:
        control.write(f"{round_trip_ms / 2} {loss_percent}\n")
        control.flush()

    try:
        line.stdout.readline()
        _run("ip", "link", "set", _FAR_DEVICE, "netns", _NAMESPACE)
        _run("ip", "address", "add", f"{NEAR}/24", "dev", _NEAR_DEVICE)
        _run("ip", "link", "set", _NEAR_DEVICE, "up")
        _run(*inside(["ip", "address", "add", f"{FAR}/24", "dev", _FAR_DEVICE]))
        _run(*inside(["ip", "link", "set", _FAR_DEVICE, "up"]))
        _run(*inside(["ip", "link", "set", "lo", "up"]))
        yield slow
    finally:
        # The devices go with the process that made them.
        line.kill()
        line.wait()
        _run("ip", "netns", "delete", _NAMESPACE)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
