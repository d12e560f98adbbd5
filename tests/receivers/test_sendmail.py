"""sendmail with the configurations of receivers/sendmail: what clients see on the wire."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.mail_server import (
    ACCEPTED,
    FAILURES,
    REFUSED,
    UNDER_LOAD,
    Expected,
    Foreground,
    deliver,
    exempt_outcomes,
    outcomes,
    shell,
    wait_listening,
)
from tests.support.receiving import (
    DENIED,
    HOST,
    RECEIVERS,
    RECIPIENT,
    REGISTER_AT,
    REGISTERED_IPV4,
    REGISTERED_IPV6,
    SERVER,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.smtp_dialogue import send_mail
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog

SETTINGS: Final = Path("/etc/mail")
EXPECTED: Final = {
    "enforce": Expected(unregistered=REFUSED, failure=ACCEPTED, lied=ACCEPTED),
    "enforce-tempfail": Expected(unregistered=REFUSED, failure="rcpt 451", lied="rcpt 451"),
    # Here it is the registered that a lie is about: it must not make them refused.
    "enforce-list": Expected(REFUSED, failure=ACCEPTED, lied=REFUSED, nodata=ACCEPTED),
    "advise": Expected(ACCEPTED, failure=ACCEPTED, lied=ACCEPTED, nodata=ACCEPTED),
}
MAPPED_PORT: Final = 2525
USER: Final = base64.b64encode(f"\0user@{HOST}\0secret".encode()).decode()


class Sendmail:
    """Debian's sendmail, as installed, and a mode in sendmail.mc."""

    def __init__(self) -> None:
        self._original = (SETTINGS / "sendmail.mc").read_text(encoding="utf-8")
        access = SETTINGS / "access"
        kept = [
            line
            for line in access.read_text(encoding="utf-8").splitlines()
            # Many sessions a second are no attack here.
            if not line.startswith(("GreetPause", "ClientRate", "ClientConn"))
        ]
        # As a site names its own networks.
        access.write_text("\n".join([*kept, "Connect:11.9.0\tRELAY", ""]), encoding="utf-8")
        (SETTINGS / "aliases").write_text("postmaster: root\n", encoding="utf-8")
        shell("newaliases")
        shell(script=f"echo secret | saslpasswd2 -p -c -u {HOST} user")
        Path("/usr/lib/sasl2/Sendmail.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n", encoding="utf-8"
        )
        Path("/run/sendmail/mta").mkdir(parents=True)
        self._process: Foreground | None = None

    def configure(self, fragment: str) -> str:
        """Puts the lines where the documentation says; what `make` said."""
        base = re.sub(
            r"FEATURE\(`greet_pause'.*|define\(`confCONNECTION_RATE_THROTTLE'.*", "", self._original
        )
        base = base.replace(
            "Name=MTA-v4, Port=smtp, Addr=127.0.0.1')dnl\n",
            "Name=MTA-v4, Port=smtp, Addr=127.0.0.1')dnl\n"
            "DAEMON_OPTIONS(`Family=inet6, Name=MTA-v6, Port=smtp, Addr=::1')dnl\n"
            # Of both families: IPv4 clients have addresses in ::ffff: there.
            f"DAEMON_OPTIONS(`Family=inet6, Name=MTA-both, Port={MAPPED_PORT}, Addr=::')dnl\n"
            # The first releases of TLS in a test would need a certificate.
            f"{UNDER_LOAD}TRUST_AUTH_MECH(`PLAIN')dnl\ndefine(`confAUTH_MECHANISMS', `PLAIN')dnl\n"
            "define(`confAUTH_OPTIONS', `A')dnl\n",
        )
        assert "MTA-v6" in base
        text = base.replace("MAILER_DEFINITIONS\n", f"{fragment}MAILER_DEFINITIONS\n")
        (SETTINGS / "sendmail.mc").write_text(text, encoding="utf-8")
        return shell("make", directory=SETTINGS)

    def start(self, mode: str) -> None:
        """See `MailServer`."""
        self.run((RECEIVERS / "sendmail" / f"{mode}.mc").read_text(encoding="utf-8"))

    def run(self, fragment: str) -> None:
        """Starts it with these lines."""
        self.stop()
        self.configure(fragment)
        self._process = Foreground(["sendmail", "-bD", "-q1h"])
        wait_listening()

    def stop(self) -> None:
        """See `MailServer`."""
        if self._process is not None:
            self._process.stop()
        self._process = None


@pytest.fixture(scope="module")
def sendmail(syslog: Syslog) -> Sendmail:
    return Sendmail()


@pytest.fixture(scope="module", params=EXPECTED)
def mode(sendmail: Sendmail, registry: Registry, request: pytest.FixtureRequest) -> Iterator[str]:
    """sendmail runs in each mode."""
    sendmail.start(request.param)
    yield request.param
    sendmail.stop()


@pytest.mark.parametrize("fault", Fault)
def test_each_client_sees_what_the_mode_promises(
    mode: str, fault: Fault, registry: Registry
) -> None:
    """Registered or not, IPv4 and IPv6, through a resolver that works, fails or lies."""
    with registry.resolver.failing(fault):
        wanted, seen = outcomes(fault, EXPECTED[mode])
    assert wanted == seen


def test_who_is_exempt_is_accepted(mode: str) -> None:
    """Postmaster can be asked for help; users and the own network need no registration."""
    seen = exempt_outcomes(USER)
    assert dict.fromkeys(seen, ACCEPTED) == seen


def test_a_mapped_address_is_its_ipv4_address(mode: str) -> None:
    """A socket of both families sees ::ffff:11.0.0.25, and the registry knows 11.0.0.25."""
    expected = {
        REGISTERED_IPV4: ACCEPTED,
        UNREGISTERED_IPV4: ACCEPTED if mode == "advise" else REFUSED,
    }
    assert expected == {
        source: send_mail(SERVER, source, RECIPIENT, port=MAPPED_PORT).outcome
        for source in expected
    }


def test_the_refusal_says_why_and_what_to_do(mode: str) -> None:
    """550 5.7.1, "communication denied", the address, and where to register."""
    if mode == "advise":
        pytest.skip("refuses nobody")
    for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        refusal = deliver(source).refusal
        assert refusal.startswith("550 5.7.1 ")
        assert DENIED in refusal
        assert REGISTER_AT in refusal
    assert UNREGISTERED_IPV4 in deliver(UNREGISTERED_IPV4).refusal


def test_advice_is_in_the_greeting(sendmail: Sendmail, registry: Registry) -> None:
    """The one place in which sendmail can tell somebody something whose mail it takes."""
    sendmail.start("advise")
    try:
        for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
            assert REGISTER_AT in deliver(source).greeting
        for source in (REGISTERED_IPV4, REGISTERED_IPV6):
            assert REGISTER_AT not in deliver(source).greeting
        with registry.resolver.failing(Fault.SERVFAIL):
            assert REGISTER_AT not in deliver(UNREGISTERED_IPV4).greeting
    finally:
        sendmail.stop()


def test_trap_dashes_in_a_rule_refuse_everyone(sendmail: Sendmail, registry: Registry) -> None:
    """`$1-$2-$3-$4` in a rule asks for `11.-.0.-.0.-.25`: so a regex map makes the name."""
    sendmail.run(
        "LOCAL_CONFIG\nKregistry dns -R A -T<TMP>\ndivert(8)\n"
        "R$*\t\t$: $&{client_addr}\n"
        "R$-.$-.$-.$-\t\t$: <?> $(registry $1-$2-$3-$4.smtpnic.org. $: NO $)\n"
        'R<?> NO\t\t$#error $@ 5.7.1 $: "550 communication denied"\n'
        "R$*\t\t$: OKSOFAR\ndivert(0)\n"
    )
    try:
        registry.resolver.questions.clear()
        assert REFUSED == deliver(REGISTERED_IPV4).outcome
        assert not any(q.startswith("11-0-0-25.") for q in registry.resolver.questions)
    finally:
        sendmail.stop()


def test_trap_a_250_for_an_error_breaks_the_session(sendmail: Sendmail, registry: Registry) -> None:
    """`$#error` with a text that begins with 250: the client goes on, and is told 503."""
    sendmail.run(
        'divert(8)\nR$*\t\t$#error $@ 2.0.0 $: "250 accepted, please register"\ndivert(0)\n'
    )
    try:
        dialogue = deliver(UNREGISTERED_IPV4)
        assert dialogue.rcpt.startswith("250 ")
        assert "data 503" == dialogue.outcome
    finally:
        sendmail.stop()


def test_trap_without_t_everyone_is_refused_when_dns_fails(
    sendmail: Sendmail, registry: Registry
) -> None:
    """`-T<TMP>` is what tells a failure from a "no"."""
    fragment = (RECEIVERS / "sendmail" / "enforce.mc").read_text(encoding="utf-8")
    assert " -T<TMP>" in fragment
    sendmail.run(fragment.replace(" -T<TMP>", ""))
    try:
        assert ACCEPTED == deliver(REGISTERED_IPV4).outcome
        for fault in FAILURES:
            with registry.resolver.failing(fault):
                assert REFUSED == deliver(REGISTERED_IPV4).outcome
    finally:
        sendmail.stop()


def test_trap_a_dead_resolver_is_asked_again_and_again(
    sendmail: Sendmail, registry: Registry
) -> None:
    """`-d2s -r1` is what bounds the wait: one question, for whose answer it waits two seconds."""
    fragment = (RECEIVERS / "sendmail" / "enforce.mc").read_text(encoding="utf-8")
    asked = {}
    for options in (" -d2s -r1", ""):
        sendmail.run(fragment.replace(" -d2s -r1", options))
        try:
            registry.resolver.questions.clear()
            with registry.resolver.failing(Fault.TIMEOUT):
                assert ACCEPTED == deliver(UNREGISTERED_IPV4).outcome
        finally:
            sendmail.stop()
        asked[options] = sum(q.startswith("11-0-0-26.") for q in registry.resolver.questions)
    assert 1 == asked[" -d2s -r1"] < asked[""]
