"""Log events: one line each, secrets hidden, libraries' news in the same form."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from node.logging import LogFormat, LogLevel, configure, get_logger


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Leaves the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(log_format: LogFormat, level: LogLevel = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(log_format, level, stream)
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_event_has_name_keys_level_and_time() -> None:
    """One event is one JSON object on one line."""
    stream = configured("json")

    get_logger("follower", node="b").info("batch.applied", size=7, root=bytes(32))

    (event,) = events(stream)
    assert event.pop("timestamp").endswith("Z")
    assert {
        "event": "batch.applied",
        "level": "info",
        "component": "follower",
        "node": "b",
        "size": 7,
        "root": "00" * 32,
    } == event


def test_console_event_is_one_plain_line() -> None:
    """Without a terminal there are no colours."""
    stream = configured("console")

    get_logger("follower").warning("upstream.lost", retry_seconds=1.5)

    (line,) = stream.getvalue().splitlines()
    assert "upstream.lost" in line
    assert "retry_seconds=1.5" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("name", ["management_key", "salt", "token", "openings", "private_key"])
def test_secrets_never_reach_the_log(log_format: LogFormat, name: str) -> None:
    """A secret that somebody binds by mistake is hidden (P6)."""
    stream = configured(log_format)

    get_logger("service").error("change.refused", **{name: "hunter2"})

    assert "hunter2" not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()


def test_long_bytes_are_cut() -> None:
    """A whole batch does not fill the log; its length is told."""
    stream = configured("json")

    get_logger("follower").info("batch.refused", batch=b"\xff" * 100)

    assert "ff" * 32 + "... (100)" == events(stream)[0]["batch"]


def test_level_hides_what_is_below() -> None:
    """Only events at the level asked for and above are written."""
    stream = configured("json", "warning")
    log = get_logger("follower")

    log.info("batch.applied")
    log.warning("upstream.lost")

    assert ["upstream.lost"] == [event["event"] for event in events(stream)]


def test_error_carries_its_traceback() -> None:
    """An unexpected error can be found from the log alone."""
    stream = configured("json")

    try:
        raise ValueError("no such thing")
    except ValueError:
        get_logger("service").exception("call.failed")

    (event,) = events(stream)
    assert "ValueError" == event["exception"][0]["exc_type"]
    assert "no such thing" == event["exception"][0]["exc_value"]


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_traceback_shows_no_variables(log_format: LogFormat) -> None:
    """What local variables hold may be secret (P6)."""
    stream = configured(log_format)
    management_key = "hunter2"

    try:
        raise ValueError(len(management_key))
    except ValueError:
        get_logger("service").exception("call.failed")

    assert "ValueError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_libraries_write_in_the_same_form() -> None:
    """Warnings of the standard logging module become events; their chatter stays out."""
    stream = configured("json")
    library = logging.getLogger("alembic.migration")

    library.info("chatter")
    library.warning("table %s is gone", "entry")

    (event,) = events(stream)
    assert "table entry is gone" == event["event"]
    assert "alembic.migration" == event["component"]
    assert "warning" == event["level"]


def test_standard_output_stays_free() -> None:
    """Events go to standard error: standard output is for what a command was asked for."""
    script = "from node.logging import *; configure('json'); get_logger('a').info('started')"

    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    )

    assert "" == finished.stdout
    assert "started" == json.loads(finished.stderr)["event"]
