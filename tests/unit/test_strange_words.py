"""What others said is shown to operators without its power over their terminals."""

from __future__ import annotations

import io

from rich.console import Console

from node.doctor.finding import bad, show
from primary.status_text import status_lines as primary_lines
from registry.wire.v1 import administration_pb2, mirror_pb2
from secondary.services.status_text import status_lines as mirror_lines

STRANGE = "no answer\x1b]0;title\x07\x1b[2J"


def test_a_peer_in_a_mirrors_status() -> None:
    """Its HTTP status line may be anything."""
    status = mirror_pb2.MirrorStatus(peers=[mirror_pb2.PeerStatus(problem=STRANGE)])
    lines = list(mirror_lines(status, 0.0))
    assert all(line.isprintable() for line in lines)
    assert any("no answer?]0;title??[2J" in line for line in lines)


def test_a_mirror_in_the_primarys_status() -> None:
    """The reason may be what another mirror says that it saw."""
    member = administration_pb2.PrimaryStatus().members.add(name="m1", reason=STRANGE)
    lines = list(primary_lines(administration_pb2.PrimaryStatus(members=[member])))
    assert all(line.isprintable() for line in lines)
    assert any("no answer?]0;title??[2J" in line for line in lines)


def test_a_finding_of_doctor() -> None:
    """The ends of its own lines stay."""
    shown = io.StringIO()
    show([bad("reach", STRANGE, "one\ntwo")], Console(file=shown, width=200))
    assert "\x1b" not in shown.getvalue()
    assert "no answer?]0;title??[2J" in shown.getvalue()
    assert 2 == sum("one" in line or "two" in line for line in shown.getvalue().splitlines())
