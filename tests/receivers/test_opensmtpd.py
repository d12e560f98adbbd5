"""OpenSMTPD with the configurations of receivers/opensmtpd: what clients see on the wire."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.process import program
from tests.support.mail_server import (
    ACCEPTED,
    REFUSED,
    Expected,
    Foreground,
    deliver,
    exempt_outcomes,
    open_to_others,
    outcomes,
    shell,
    wait_listening,
)
from tests.support.receiving import (
    DENIED,
    HOST,
    OWN_NETWORK,
    RECEIVERS,
    RECIPIENT,
    REGISTER_AT,
    SERVER,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.smtp_dialogue import (
    ANONYMOUS,
    SMTP_PORT,
    SMTPS_PORT,
    Dialogue,
    Tls,
    send_mail,
)
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog

SETTINGS: Final = Path("/etc/smtpd.conf")
CERTIFICATE: Final = Path("/etc/ssl/mx.pem")
KEY: Final = Path("/etc/ssl/mx.key")
USERS: Final = Path("/etc/smtpd-users")


def plain(user: str, password: str) -> str:
    """Credentials of AUTH PLAIN (RFC 4616)."""
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


USER: Final = plain("user", "secret")
# The second is called as smtpd calls a success.
IMPOSTORS: Final = (plain("user", "wrong"), plain("pass", "wrong"))
EXPECTED: Final = {
    "enforce": Expected(unregistered=REFUSED, failure=ACCEPTED, lied=ACCEPTED),
    "enforce-tempfail": Expected(unregistered=REFUSED, failure="rcpt 451", lied="rcpt 451"),
    "advise": Expected(ACCEPTED, failure=ACCEPTED, lied=ACCEPTED, nodata=ACCEPTED),
}


class OpenSmtpd:
    """Debian's OpenSMTPD with a filter in smtpd.conf, at both loopback addresses."""

    def __init__(self) -> None:
        Path("/etc/aliases").write_text("postmaster: root\n", encoding="utf-8")
        # Where its PATH finds it: as a package would install it.
        Path("/usr/local/bin/smtpnic-policyd").symlink_to(program("smtpnic-policyd"))
        open_to_others(Path(sys.base_prefix))
        settings = Path("/etc/smtpnic")
        settings.mkdir()
        # A lookup is remembered; here each question is to meet the fault of its test.
        (settings / "policyd.toml").write_text(
            'own_networks = ["11.9.0.0/24"]\nguard_seconds = 0\nresolvers = ["127.0.0.1"]\n',
            encoding="utf-8",
        )
        key = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}")
        shell("openssl", *key, "-keyout", str(KEY), "-out", str(CERTIFICATE))
        KEY.chmod(0o600)
        digest = shell("openssl", "passwd", "-6", "secret").strip()
        USERS.write_text(f"user {digest}\npass {digest}\n", encoding="utf-8")
        self._process: Foreground | None = None

    def start(self, mode: str) -> None:
        """See `MailServer`."""
        self.stop()
        fragment = (RECEIVERS / "opensmtpd" / f"{mode}.conf").read_text(encoding="utf-8")
        SETTINGS.write_text(
            f"{fragment}"
            "table aliases file:/etc/aliases\n"
            f"table users file:{USERS}\n"
            f'pki "{HOST}" cert "{CERTIFICATE}"\npki "{HOST}" key "{KEY}"\n'
            f'smtp ciphers "{ANONYMOUS}"\n'
            f'listen on 127.0.0.1 tls pki "{HOST}" auth-optional <users> filter registry\n'
            f'listen on 127.0.0.1 smtps pki "{HOST}" auth-optional <users> filter registry\n'
            "listen on ::1 filter registry\n"
            'action "local" mbox alias <aliases>\n'
            f'match from any for domain "{HOST}" action "local"\nmatch for local action "local"\n',
            encoding="utf-8",
        )
        shell("smtpd", "-n")
        self._process = Foreground(["smtpd", "-d"])
        wait_listening()

    def stop(self) -> None:
        """See `MailServer`."""
        if self._process is not None:
            self._process.stop()
        self._process = None


@pytest.fixture(scope="module")
def opensmtpd(syslog: Syslog) -> Iterator[OpenSmtpd]:
    opensmtpd = OpenSmtpd()
    yield opensmtpd
    opensmtpd.stop()


@pytest.fixture(scope="module", params=EXPECTED)
def mode(opensmtpd: OpenSmtpd, registry: Registry, request: pytest.FixtureRequest) -> str:
    """OpenSMTPD runs in each mode."""
    opensmtpd.start(request.param)
    return str(request.param)


@pytest.mark.parametrize("fault", Fault)
def test_each_client_sees_what_the_mode_promises(
    mode: str, fault: Fault, registry: Registry, opensmtpd: OpenSmtpd
) -> None:
    """Registered or not, IPv4 and IPv6, through a resolver that works, fails or lies."""
    # The filter remembers what DNS said: it starts anew for each fault.
    opensmtpd.start(mode)
    with registry.resolver.failing(fault):
        wanted, seen = outcomes(fault, EXPECTED[mode])
    assert wanted == seen


def test_who_is_exempt_is_accepted(mode: str) -> None:
    """Postmaster can be asked for help; the own network needs no registration."""
    seen = exempt_outcomes()
    assert dict.fromkeys(seen, ACCEPTED) == seen
    assert ACCEPTED == deliver(OWN_NETWORK).outcome


def test_the_refusal_says_why_and_what_to_do(mode: str, opensmtpd: OpenSmtpd) -> None:
    """550 5.7.1, "communication denied", the address, and where to register."""
    if mode == "advise":
        pytest.skip("refuses nobody")
    opensmtpd.start(mode)
    for source in (UNREGISTERED_IPV4, UNREGISTERED_IPV6):
        refusal = deliver(source).refusal
        assert refusal.startswith("550 5.7.1 ")
        assert source in refusal
        assert DENIED in refusal
        assert REGISTER_AT in refusal


@pytest.mark.parametrize(("tls", "port"), [(Tls.STARTTLS, SMTP_PORT), (Tls.IMPLICIT, SMTPS_PORT)])
def test_users_are_accepted_wherever_they_are(
    mode: str, tls: Tls, port: int, opensmtpd: OpenSmtpd, registry: Registry
) -> None:
    """Who has authenticated, in the same encrypted session in which others are refused.

    OpenSMTPD lets users authenticate over TLS only. 6.8 finds no private key with OpenSSL 3, of
    whatever kind the certificate is, so the session has a cipher that needs none.
    """
    opensmtpd.start(mode)

    def session(credentials: str = "") -> Dialogue:
        return send_mail(
            SERVER, UNREGISTERED_IPV4, RECIPIENT, port=port, credentials=credentials, tls=tls
        )

    with registry.resolver.failing(Fault.SERVFAIL):
        assert ACCEPTED == session(USER).outcome
    assert EXPECTED[mode].unregistered == session().outcome
    user = session(USER)
    assert ("235", ACCEPTED) == (user.auth[:3], user.outcome)
    for credentials in IMPOSTORS:
        impostor = session(credentials)
        assert ("535", EXPECTED[mode].unregistered) == (impostor.auth[:3], impostor.outcome)
