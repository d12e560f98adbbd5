"""What a receiving mail server does by the registry's word, as its operator chose."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What happens to mail of a server that is not registered."""

    ADVISE = "advise"
    ENFORCE = "enforce"


class OnFailure(StrEnum):
    """What happens to mail while the registry cannot be asked; never a 550."""

    ACCEPT = "accept"
    TEMPFAIL = "tempfail"
