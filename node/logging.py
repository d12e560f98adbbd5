"""Log events: a name and bound keys, one a line, to standard error; no secrets, no prose.

log = get_logger("follower")
log.info("batch.applied", size=1207, entries=3)
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

# For tracebacks in colours, which nothing here prints, structlog takes 4 MB of rich where it finds
# it; its own tables get it all the same.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402
from structlog.typing import FilteringBoundLogger, Processor  # noqa: E402

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# Keys whose values must never reach a log, whoever binds them.
SECRET_KEYS: Final = frozenset(
    {"contact", "key", "management_key", "opening", "openings", "password", "private_key"}
    | {"salt", "secret", "signer", "token", "value"}
)
REDACTED: Final = "[redacted]"

# A SHA-256 in full; a note or a batch would fill pages.
MAX_HEX_BYTES: Final = 32


def get_logger(name: str, **bound: object) -> FilteringBoundLogger:
    """A logger of the component `name`, with what else every event of it carries."""
    logger: FilteringBoundLogger = structlog.get_logger(component=name, **bound)
    return logger


def configure(
    log_format: LogFormat = "console", level: LogLevel = "info", stream: TextIO | None = None
) -> None:
    """Sets the log of this process up, once, when it starts.

    What libraries write through the standard logging module comes out in the same form.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
        hex_bytes,
    ]
    final = _final_processors(log_format, is_terminal=output.isatty())
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _name_component],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    # A library's own news is for whoever asked for all of it.
    logging.basicConfig(
        handlers=[handler], level=number if number <= logging.DEBUG else logging.WARNING, force=True
    )


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Hides the values of secret keys."""
    for name in SECRET_KEYS.intersection(event):
        event[name] = REDACTED
    return event


def hex_bytes(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Writes bytes as hexadecimal, as the rest of the documentation does."""
    for name, value in event.items():
        if isinstance(value, bytes):
            shown = value[:MAX_HEX_BYTES].hex()
            event[name] = shown if len(value) <= MAX_HEX_BYTES else f"{shown}... ({len(value)})"
    return event


def _name_component(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    event["component"] = event["_record"].name
    return event


def _final_processors(log_format: LogFormat, *, is_terminal: bool) -> list[Processor]:
    # Local variables in a traceback may be secret: neither form shows them.
    if log_format == "json":
        transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(transform),
            structlog.processors.JSONRenderer(default=str),
        ]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=plain)]
