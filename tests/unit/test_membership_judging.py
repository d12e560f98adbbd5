"""Who may join with a token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from primary.membership.judging import (
    UsedTwiceError,
    check_free,
    check_name,
    check_names,
    check_ticket,
    joined,
)
from primary.membership.values import Asked, Node, Role, Ticket, may_call
from primary.pki import Names
from registry.errors import Problem

NOW = 1_000_000
KEY, OTHER = bytes([1]) * 32, bytes([2]) * 32
OPEN = Ticket(bytes(32), "", Role.MIRROR, "Ann", (), "192.0.2.1:7442", NOW - 10, NOW + 10)
USED = replace(OPEN, used_ms=NOW - 5, used_key=KEY, used_name="alpha")
ASKED = Asked("alpha", (), KEY, "198.51.100.7")
NODE = Node("alpha", KEY, Role.MIRROR, "Ann", ("198.51.100.7",), NOW - 5)


@pytest.mark.parametrize(
    ("ticket", "key", "now", "words"),
    [
        (None, KEY, NOW, "is not known here"),
        (replace(OPEN, revoked_ms=NOW), KEY, NOW, "was revoked"),
        (OPEN, KEY, OPEN.expires_ms, "expired at 1970-01-01T00:16:40Z:"),
        (USED, OTHER, NOW, "was used at .* by alpha, with another key"),
        # Even where it has expired too: what happened to it is worth more.
        (USED, OTHER, OPEN.expires_ms, "was used at"),
        (USED, KEY, OPEN.expires_ms, "expired"),
    ],
)
def test_a_token_that_lets_nobody_in(
    ticket: Ticket | None, key: bytes, now: int, words: str
) -> None:
    """Each reason is told apart."""
    with pytest.raises(Problem, match=words) as refused:
        check_ticket(ticket, key, now)
    assert ("token", "was used at" in words) == (
        refused.value.code,
        isinstance(refused.value, UsedTwiceError) and "was used at" in words,
    )


@pytest.mark.parametrize("ticket", [OPEN, USED])
def test_the_same_key_is_answered_again(ticket: Ticket) -> None:
    """An answer that was lost costs no token."""
    assert ticket == check_ticket(ticket, KEY, NOW)


def test_the_name_is_the_tokens_or_free() -> None:
    """Whoever makes the token may leave it open; afterwards it is the one that joined."""
    assert "alpha" == check_name(OPEN, ASKED)
    assert "beta" == check_name(replace(OPEN, name="beta"), replace(ASKED, name=""))
    for ticket, name in ((OPEN, ""), (replace(OPEN, name="beta"), "alpha"), (USED, "beta")):
        with pytest.raises(Problem):
            check_name(ticket, replace(ASKED, name=name))
    with pytest.raises(Problem, match="the registry's own"):
        check_name(OPEN, replace(ASKED, name="freshness"))


def test_a_name_has_one_node() -> None:
    """Another's is taken; one that was removed joins again with a token made afterwards."""
    check_free(None, OPEN, KEY)
    check_free(NODE, USED, KEY)
    with pytest.raises(Problem, match="another node's name"):
        check_free(NODE, OPEN, OTHER)
    check_free(replace(NODE, removed_ms=OPEN.created_ms - 1), OPEN, OTHER)
    for key in (KEY, OTHER):
        with pytest.raises(Problem, match="was removed after this token was made"):
            check_free(replace(NODE, removed_ms=OPEN.created_ms), OPEN, key)


def test_certificates_name_what_the_token_allows() -> None:
    """Or the address that the request comes from, and never the primary itself."""
    own = {"192.0.2.1"}.__contains__
    named = replace(OPEN, names=("198.51.100.9", "ns.example.net"))
    assert Names.of(["198.51.100.7"]) == check_names(OPEN, ASKED, own)
    assert Names.of(named.names) == check_names(named, ASKED, own)
    one = replace(ASKED, names=("ns.example.net",))
    assert Names.of(["ns.example.net"]) == check_names(named, one, own)
    with pytest.raises(Problem, match=r"--host ns\.example\.net"):
        check_names(OPEN, one, own)
    with pytest.raises(Problem, match="the primary's own"):
        check_names(OPEN, replace(ASKED, peer="192.0.2.1"), own)


@pytest.mark.parametrize(
    "wrong", [{"name": "a" * 64}, {"names": ("x",) * 17}, {"names": ("x" * 254,)}]
)
def test_what_is_asked_is_bounded(wrong: dict[str, Any]) -> None:
    """Before it is looked at, or stands in a log; and said twice it is one."""
    with pytest.raises(Problem, match="at most"):
        replace(ASKED, **wrong)
    assert Names.of([ASKED.peer]) == check_names(
        OPEN, replace(ASKED, names=(ASKED.peer,) * 2), lambda _: False
    )


def test_who_joins_is_kept_with_the_token() -> None:
    """So that both lists tell the same story; the first time counts."""
    ticket, node = joined(OPEN, ASKED, "alpha", Names.of(["198.51.100.7"]), NOW)
    assert replace(NODE, joined_ms=NOW) == node
    assert (NOW, KEY, "alpha") == (ticket.used_ms, ticket.used_key, ticket.used_name)
    assert ticket == joined(ticket, ASKED, "alpha", Names.of(["198.51.100.7"]), NOW + 1)[0]


@pytest.mark.parametrize(
    ("role", "method", "may"),
    [
        (Role.MIRROR, "/smtpnic.v1.Replication/Subscribe", True),
        (Role.READER, "/smtpnic.v1.Replication/Subscribe", True),
        (Role.MIRROR, "/smtpnic.v1.Replication/ReportCosignature", True),
        (Role.READER, "/smtpnic.v1.Replication/ReportCosignature", False),
        (Role.READER, "/smtpnic.v1.Membership/RenewCertificate", True),
        (Role.READER, "/grpc.health.v1.Health/Check", True),
        (Role.MIRROR, "/smtpnic.v1.Replication/SomethingNew", False),
        (Role.MIRROR, "/smtpnic.v1.Administration/GetStatus", False),
    ],
)
def test_a_role_has_its_calls(role: Role, method: str, may: bool) -> None:
    """What is not listed nobody may call."""
    assert may == may_call(role, method)
