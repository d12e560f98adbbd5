"""What `status` shows at the primary and at a mirror."""

from __future__ import annotations

from primary.status_text import status_lines as primary_lines
from registry.wire.v1 import administration_pb2, mirror_pb2
from secondary.services.status_text import status_lines as mirror_lines

AT_MS, AT = 1_700_000_000_999, "2023-11-14T22:13:20Z"


def test_times_are_written_as_everywhere() -> None:
    """To the second, in UTC, with a Z, as WHOIS and RDAP have them; a mirror says how long ago."""
    primary = administration_pb2.PrimaryStatus(checkpoint_ms=AT_MS, certificate_ends_ms=AT_MS)
    lines = list(primary_lines(primary))
    assert f"last change  {AT}, zone serial 0" in lines
    assert f"certificate  until {AT}" in lines
    mirror = mirror_pb2.MirrorStatus(checkpoint_ms=AT_MS, certificate_ends_ms=AT_MS)
    lines = list(mirror_lines(mirror, AT_MS / 1000 + 7))
    assert f"last change  {AT}, 7 s ago" in lines
    assert "vouched for  never" in lines
    assert f"certificate  until {AT}" in lines
