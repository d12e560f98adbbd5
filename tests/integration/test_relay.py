"""Mail to a holder who is private arrives, over real SMTP on both sides."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from node.endpoint import Endpoint
from primary.desk.relay import Relay, RelaySettings
from primary.registering.relaying import RelayLimits
from registry.relaying import holder_of, relay_address
from tests.support.bureau import OWN_ZONE, Applicant, Bureau, open_bureau
from tests.support.internet import SMTP_PORT, Internet, answers_tcp, internet

LIMITS = RelayLimits(per_client=3, per_holder=100)
SENDER = "receiver@example.net"
SECONDS = 30


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with internet() as net:
        yield net


@pytest.fixture
def bureau(tmp_path: Path, net: Internet) -> Iterator[Bureau]:
    """A registry with a relay, and so without a duty to make anything public."""
    with open_bureau(tmp_path, net) as bureau:
        bureau.run(bureau.intake.close())
        bureau.post.close()
        bureau.terms = replace(bureau.terms, relay=True)
        bureau.open()
        yield bureau


def private(bureau: Bureau) -> Applicant:
    """A registered holder of whom nothing is public."""
    ann = bureau.applicant()
    bureau.net.let_in(ann.domain, ann.holder_id)
    hidden = tuple(replace(value, public=False) for value in ann.contact())
    report = bureau.begin(ann, contact=hidden)
    bureau.connect(report)
    bureau.confirm(ann)
    assert bureau.check(report, ann).index is not None
    return ann


def message() -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = SENDER
    letter["To"] = "whom it may concern:;"
    letter["Subject"] = "your mail server"
    letter.set_content("It sends what nobody asked for.\n")
    return letter


def with_relay(
    bureau: Bureau,
    work: Callable[[Endpoint], Any],
    protocol: Any = "smtp",
    limits: RelayLimits = LIMITS,
) -> Any:
    """What the work, in a thread, comes to while the relay runs."""
    endpoint = Endpoint(bureau.net.new_address(), SMTP_PORT)
    settings = RelaySettings(endpoint, protocol, 100_000, limits)

    async def together() -> Any:
        relay = Relay(
            settings,
            OWN_ZONE,
            book=bureau.book,
            clerk=bureau.clerk,
            mailer=bureau.mailer,
            clock=bureau.now,
        )
        running = asyncio.create_task(relay.run())
        try:
            await asyncio.to_thread(answers_tcp, endpoint)
            return await asyncio.to_thread(work, endpoint)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            relay.close()

    return bureau.run(together())


def send(to: str, letter: EmailMessage, sender: str = SENDER, lmtp: bool = False) -> Any:
    """Sends one message; the code that it was answered with."""

    def work(endpoint: Endpoint) -> int:
        make = smtplib.LMTP if lmtp else smtplib.SMTP
        with make(endpoint.host, endpoint.port, timeout=SECONDS) as client:
            try:
                client.sendmail(sender, [to], letter.as_bytes(policy=SMTP))
            except smtplib.SMTPRecipientsRefused as error:
                return next(iter(error.recipients.values()))[0]
            except smtplib.SMTPResponseException as error:
                return error.smtp_code
        return 250

    return work


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_message_reaches_a_private_holder(bureau: Bureau, protocol: str) -> None:
    """As it was sent, to a mailbox that the sender never hears of."""
    ann = private(bureau)
    before = len(bureau.mailboxes.to(ann.mailbox))
    relay = relay_address(ann.holder_id, OWN_ZONE)
    assert with_relay(bureau, send(relay, message(), lmtp=protocol == "lmtp"), protocol) == 250

    letter = bureau.mailboxes.to(ann.mailbox)[before]
    assert (letter["From"], letter["Subject"]) == (SENDER, "your mail server")
    assert letter.get_content().splitlines() == ["It sends what nobody asked for."]


def test_what_is_no_holders_is_refused(bureau: Bureau) -> None:
    """No open relay: neither other domains nor holders that there are not."""
    ann = private(bureau)
    for to in (
        relay_address(bytes(16), OWN_ZONE),
        relay_address(ann.holder_id, "example.net"),
        f"postmaster@{OWN_ZONE}",
        ann.mailbox,
    ):
        assert with_relay(bureau, send(to, message())) == 550


def test_bounces_and_loops_end(bureau: Bureau) -> None:
    """A message that has been everywhere, or that nobody sent, goes no further."""
    ann = private(bureau)
    relay = relay_address(ann.holder_id, OWN_ZONE)
    looping = message()
    for _ in range(26):
        looping["Received"] = "from a by b"

    assert with_relay(bureau, send(relay, message(), sender="")) == 550
    assert with_relay(bureau, send(relay, looping)) == 554


def test_a_client_may_send_so_many(bureau: Bureau) -> None:
    """Then it is asked to come again, and may after an hour."""
    ann = private(bureau)
    work = send(relay_address(ann.holder_id, OWN_ZONE), message())

    def many(endpoint: Endpoint) -> list[int]:
        codes = [work(endpoint) for _ in range(4)]
        bureau.log.now_ms += 3_600_000
        return [*codes, work(endpoint)]

    assert with_relay(bureau, many) == [250, 250, 250, 451, 250]


@pytest.mark.parametrize(("refusal", "code"), [("451 later", 451), ("550 ann@private", 550)])
def test_a_refusal_tells_nothing(bureau: Bureau, refusal: str, code: int) -> None:
    """Whether to try again, and not what the holder's server said."""
    ann = private(bureau)
    bureau.mailboxes.refusal = refusal
    relay = relay_address(ann.holder_id, OWN_ZONE)

    def work(endpoint: Endpoint) -> tuple[int, bytes]:
        with smtplib.SMTP(endpoint.host, endpoint.port, timeout=SECONDS) as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(relay)
            return client.data(message().as_bytes(policy=SMTP))

    answered, text = with_relay(bureau, work)
    assert answered == code
    assert b"private" not in text


def test_a_relay_address_is_one_to_one() -> None:
    """In any letter case; only of this registry."""
    assert holder_of(relay_address(bytes(range(16)), OWN_ZONE).upper(), OWN_ZONE) == bytes(
        range(16)
    )
    assert holder_of(f"relay+12@{OWN_ZONE}", OWN_ZONE) is None
    assert holder_of("relay", OWN_ZONE) is None
