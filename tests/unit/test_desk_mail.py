"""Letters whose addresses are as odd as addresses may be."""

from __future__ import annotations

import pytest

from node.endpoint import Endpoint
from primary.desk.mail import Mailer, NotSentError
from primary.registering.letters import Letter

MAILER = Mailer(Endpoint("127.0.0.1", 1), "none", "", "", "registry@smtpnic.example")


@pytest.mark.parametrize(
    "recipient", ["=?x?q?=0a?=@example.org", "=?us-ascii?q?=0D=0ABcc=3A_x?=@example.org"]
)
def test_an_address_that_no_header_can_hold(recipient: str) -> None:
    """The letter is given up; it stops no other, and not the registry."""
    with pytest.raises(NotSentError) as caught:
        MAILER.send(Letter(recipient, "subject", "body"))
    assert not caught.value.may_pass
