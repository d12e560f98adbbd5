"""A serving role as a real process, on a loopback address of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import loopback_network
from tests.support.boards import pin_file
from tests.support.log_builder import LogBuilder
from tests.support.wait import wait_until

START_SECONDS = 20
STOP_SECONDS = 20
SERVICE_PORT = 5300
HTTP_PORT = 7400

_PROGRAM = """\
import sys
from pathlib import Path
from node.exits import exit_code
from secondary.{role}.server import run
from secondary.settings import SecondarySettings
try:
    run(SecondarySettings.load(Path(sys.argv[1])))
except Exception as error:
    print(error, file=sys.stderr)
    sys.exit(exit_code(error))
"""


class RoleProcess:
    """The DNS or the WHOIS role, with settings written for it below `directory`."""

    def __init__(
        self,
        role: str,
        directory: Path,
        log: LogBuilder,
        etcd: str,
        *,
        address: str = "",
        drain_seconds: float = 0.2,
        more: str = "",
    ) -> None:
        """Prepare; at a random loopback address if none is given. `more` are its own settings."""
        self.address = address or f"{loopback_network()}.1"
        self._role = role
        self._settings = directory / f"{role}.toml"
        self._output = directory / f"{role}.log"
        self._settings.write_text(
            'name = "test"\n'
            f'root_file = "{pin_file(log, directory)}"\n'
            'upstream = "127.0.0.1:1"\n'
            f"drain_seconds = {drain_seconds}\n"
            f'[etcd]\nendpoints = ["{etcd}"]\n'
            f'[{role}]\nlisten = "{self.address}:{SERVICE_PORT}"\n'
            f'http = "{self.address}:{HTTP_PORT}"\n{more}'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Runs it, without waiting for anything."""
        command = [sys.executable, "-c", _PROGRAM.format(role=self._role), str(self._settings)]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def end(self) -> None:
        """Ends it, in whatever state it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def output(self) -> str:
        """What it has written so far."""
        return self._output.read_text()

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of its HTTP server; status 0 if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:{HTTP_PORT}{path}") as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_serving(self) -> None:
        """Waits until it listens, ready or not."""
        wait_until(
            lambda: self.page("/livez")[0] == 200, seconds=START_SECONDS, what=self._what("runs")
        )

    def wait_ready(self) -> None:
        """Waits until it has a view to serve from."""
        wait_until(
            lambda: self.page("/readyz")[0] == 200, seconds=START_SECONDS, what=self._what("ready")
        )

    def _what(self, state: str) -> str:
        return f"{self._role} {state}; see {self._output}"


@contextmanager
def running_role(role: RoleProcess) -> Iterator[RoleProcess]:
    """The role, listening; it ends with the block."""
    role.start()
    try:
        role.wait_serving()
        yield role
    finally:
        role.end()
