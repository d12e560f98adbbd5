"""What is found, as letters say it."""

from __future__ import annotations

from primary.registering.findings import Condition, Finding, Verdict, broken_text


def test_letters_do_not_repeat_what_a_stranger_may_have_written() -> None:
    """Whoever has the address by now would write into them; names are said as they were found."""
    greeting = "the greeting is '220 go to https://spam.example'"
    findings = [
        Finding(Condition.PTR, Verdict.FAILED, "no PTR record", "a PTR record", "add one"),
        Finding(Condition.ADDRESS, Verdict.FAILED, greeting, "a connection from it", "connect"),
        Finding(Condition.DOMAIN, Verdict.HELD, "a record", "a record"),
        Finding(Condition.FORWARD, Verdict.UNKNOWN, "silence", "an address", "try again"),
    ]
    assert broken_text(findings) == (
        "  no PTR record\n  add one\n  not found: a connection from it\n  connect"
    )
