"""Times as text."""

from __future__ import annotations

from datetime import UTC, datetime


def time_text(milliseconds: float) -> str:
    """A time since 1970 to the second, in UTC (RFC 3339)."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    # Every answer of WHOIS holds some; a format would take twice as long.
    return f"{moment.isoformat().removesuffix('+00:00')}Z"
