"""smtpnic top: the cluster, live in a terminal."""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from node.errors import ConfigurationError
from smtpnic.commands.status import ask_nodes
from smtpnic.commands.verify import Mirrors
from smtpnic.session import Session
from smtpnic.settings import Settings
from smtpnic.top.changes import ChangeView
from smtpnic.top.gathering import last_changes, read_all
from smtpnic.top.metrics import Reading, judge
from smtpnic.top.screen import Moment

# Between the two readings that a rate is made of.
FIRST_SECONDS: Final = 1.0
CHANGES: Final = 10

MetricsUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="URL",
        help="A process's metrics, such as http://192.0.2.53:7451. May be repeated.",
    ),
]
LogUrl = Annotated[
    str | None,
    typer.Option("--log", metavar="URL", help="A log, such as http://192.0.2.53:7445."),
]
Interval = Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")]
Once = Annotated[bool, typer.Option("--once", help="Show it once, and end.")]


def top(
    context: typer.Context,
    *,
    mirror: Mirrors = None,
    metrics: MetricsUrls = None,
    log: LogUrl = None,
    interval: Interval = 2.0,
    once: Once = False,
) -> None:
    """Watch the cluster: mirrors and how far each is, queries a second, last changes, alarms.

    Nodes are those of `status`. Rates, memory and more alarms come from processes' metrics, and
    last changes from a log over HTTP: give their addresses, or write `metrics` and `log` in the
    configuration. The key q ends it. Without a terminal, and with --json, it is shown once.
    """
    session: Session = context.obj
    settings = session.settings(mirrors=mirror or None, metrics=metrics or None, log=log)
    watch = _Watch(session, settings)
    if once or session.output.as_json or not sys.stdout.isatty():
        session.output.show(watch.once())
    else:
        _live(session, watch, interval)


class _Watch:
    """Looks at the cluster again and again, and remembers what rates are made of."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        self._keys = session.keys(settings)
        self._before: dict[str, Reading] = {}
        if settings.primary is None and not settings.mirrors and not settings.metrics:
            raise ConfigurationError(
                "which cluster? Give --primary HOST:PORT, --mirror HOST:PORT or --metrics URL"
            )

    def once(self) -> Moment:
        """With rates over a second."""
        if self._settings.metrics:
            self._readings()
            time.sleep(FIRST_SECONDS)
        return self.look()

    def look(self) -> Moment:
        """What is seen now; rates are since the last look."""
        settings = self._settings
        before = dict(self._before)
        readings = self._readings()
        nodes = ask_nodes(self._session, settings, self._keys)
        changes: list[ChangeView] = []
        problem = "give --log URL to see them"
        if settings.log:
            changes, problem = last_changes(settings.log, CHANGES)
        return Moment(
            time.time_ns() // 1_000_000,
            nodes,
            [judge(before.get(one.url), one) for one in readings],
            changes,
            problem,
        )

    def _readings(self) -> list[Reading]:
        readings = read_all(self._settings.metrics)
        self._before = {one.url: one for one in readings}
        return readings


def _live(session: Session, watch: _Watch, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - who shows it once does not need it

    with _keyboard() as is_ended:
        console = session.output.console
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(watch.look().layout(keys=True), refresh=True)
                if is_ended(interval):
                    return


@contextmanager
def _keyboard() -> Iterator[_Keys]:
    """Keys one by one, unseen; as they were afterwards."""
    if not sys.stdin.isatty():
        yield _Keys(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Keys:
    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, seconds: float) -> bool:
        """Waits so long, or until a key is pressed that ends it; whether it was."""
        if self._descriptor is None:
            time.sleep(seconds)
            return False
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], rest)[0]:
                # Nothing to read is the end of the terminal.
                key = sys.stdin.read(1)
                if key in ("q", "Q", ""):
                    return True
        return False
