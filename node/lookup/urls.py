"""Where RDAP is found."""

from __future__ import annotations

from urllib.parse import urlsplit


def base_url(text: str) -> str:
    """The URL with a slash at its end, or nothing; ValueError if it is none that paths go below."""
    parts = urlsplit(text)
    is_url = parts.scheme in ("http", "https") and parts.hostname
    if text and (not is_url or parts.query or parts.fragment):
        raise ValueError("expected a URL such as https://rdap.example.net")
    return text and text.rstrip("/") + "/"
