"""How a registration stands that was admitted by proofs."""

from __future__ import annotations

from dataclasses import dataclass, field

from primary.registering.judging import Subject
from primary.registering.schedule import Trial


@dataclass(frozen=True, slots=True)
class Standing:
    """Who registered what, how far its trial is, and since when it does not hold.

    `address_proved_ms`: the last connection from the address with the token. `failed_days` counts
    days on which it did not hold, `failed_day` is the last of them (days since 1970);
    `lapsed_ms`: since when it is lapsed; `verified_ms`: when a look last found that all holds.
    0 for none.
    """

    subject: Subject
    address_token: str = field(repr=False)
    trial: Trial
    address_proved_ms: int = 0
    failed_days: int = 0
    failed_day: int = 0
    lapsed_ms: int = 0
    verified_ms: int = 0
