"""Says in the log how far the board's root is from its expiry; nothing stops because of it."""

from __future__ import annotations

import time

from node.logging import get_logger
from registry.board_text import format_time
from registry.root import Root, Validity

_log = get_logger("roots")


def tell_of_expiry(root: Root) -> None:
    """A warning while a root is due, an error once it has expired."""
    validity, expires = root.validity(time.time()), format_time(root.expires_s)
    if validity is Validity.DUE:
        _log.warning(
            "root.due",
            version=root.version,
            expires=expires,
            advice="the board has to sign the next: smtpnic board propose-root",
        )
    elif validity is Validity.EXPIRED:
        _log.error(
            "root.expired",
            version=root.version,
            expires=expires,
            advice="all goes on, but the board can decide nothing before the next root",
        )
