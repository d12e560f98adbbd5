"""What a node may be called: one label, which stands in certificates, metrics and key names."""

from __future__ import annotations

import re
from typing import Final

from registry.errors import Problem

# A host name's label (RFC 1123, 2.1).
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# ORIGIN/freshness is the key that says how new a checkpoint is, and a mirror's key is ORIGIN/NAME.
_RESERVED: Final = frozenset({"freshness", "primary"})


def is_node_name(name: str) -> bool:
    """Whether a node may have this name."""
    return _LABEL.fullmatch(name) is not None and name not in _RESERVED


def check_node_name(name: str) -> str:
    """`name` if it can name a node; Problem "name" otherwise."""
    if name in _RESERVED:
        raise Problem("name", f"{name} is the registry's own: choose another name", "name")
    if not is_node_name(name):
        raise Problem(
            "name", f"{name!r}: use lower-case letters, digits and dashes, 63 at most", "name"
        )
    return name
