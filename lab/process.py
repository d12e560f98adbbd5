"""A process of the cluster: started, watched, and ended by its own pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 30.0
LOG_TAIL_BYTES = 4000


class LabError(Exception):
    """The cluster did not do what the lab waited for; the text carries the log's end."""


def program(name: str) -> str:
    """Path of one of the project's console scripts, beside the running interpreter."""
    return str(Path(sys.executable).with_name(name))


class LabProcess:
    """One command, its output in a log file, in a process group of its own."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, also after its end; LabError if it was never started."""
        if self._process is None:
            raise LabError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, extra_env: Mapping[str, str] | None = None) -> None:
        """Starts the command; its log goes on at the file's end."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.env | dict(extra_env or {}),
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, not to its group."""
        os.kill(self.pid, number)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and its exit code; LabError (after a kill -9) when it does not drain in time."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.wait(seconds)
        except LabError:
            self.kill()
            raise

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Its exit code, waiting at most `seconds`."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {seconds} s\n{self.tail()}") from None

    def tail(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        data = self.log.read_bytes()[-LOG_TAIL_BYTES:]
        return data.decode(errors="replace")


def run(
    command: Sequence[str], *, seconds: float = 60.0, env: Mapping[str, str] | None = None
) -> str:
    """Output of a command that must succeed; LabError with all it printed otherwise."""
    started = time.monotonic()
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | dict(env or {}),
        check=False,
    )
    if done.returncode != 0:
        took = time.monotonic() - started
        raise LabError(
            f"{' '.join(command)}\nended with {done.returncode} after {took:.1f} s\n"
            f"{done.stdout}{done.stderr}"
        )
    return done.stdout
