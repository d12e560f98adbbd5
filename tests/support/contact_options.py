"""A holder's contact as the options of `smtpnic`."""

from __future__ import annotations

# What a holder of the tests keeps private, and so gives again with every update.
PRIVATE = (
    *("--postal-address", "1 Example Street"),
    *("--email", "a@example.org"),
    *("--telephone", "+41 44 668 18 00"),
)


def contact_of(name: str) -> tuple[str, ...]:
    """All four fields, none of them shown."""
    return ("--name", name, *PRIVATE)
