"""The commands of docs/receivers.md, as they stand there, with the server of this isolation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.cluster import ZONE
from lab.process import program
from smtpnic.receiving.log_files import find_logs
from tests.receivers.conftest import MAIL_LOG
from tests.support.journald import DIRECTORY, FORWARDED, Journald
from tests.support.mail_server import (
    ACCEPTED,
    REFUSED,
    UNDER_LOAD,
    deliver,
    open_to_others,
    shell,
    wait_listening,
)
from tests.support.receiving import (
    DENIED,
    HOST,
    POSTMASTER,
    REGISTERED_IPV4,
    ROOT,
    UNREGISTERED_IPV4,
    UNREGISTERED_IPV6,
    Registry,
)
from tests.support.switched_resolver import Fault
from tests.support.syslog import Syslog
from tests.support.wait import wait_until

TITLES: Final = {
    "sendmail": "sendmail",
    "postfix": "Postfix",
    "exim": "Exim",
    "opensmtpd": "OpenSMTPD",
    "rspamd": "rspamd",
    "spamassassin": "SpamAssassin",
}
SERVICES: Final = {"exim": "exim4", "spamassassin": "spamd"}
FILTERS: Final = ("rspamd", "spamassassin")
CHECKED: Final = {"rspamd": "/etc/rspamd/local.d/rbl.conf", "spamassassin": "/etc/spamassassin"}


def page_commands(title: str, heading: str = "") -> str:
    """The commands of a section of the page; with a heading, those after the line `HEADING:`."""
    page = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert section, title
    if heading:
        section = section.partition(f"\n{heading}:\n")[2]
        assert section, heading
    return re.search(r"```\n(.*?)```", section, re.DOTALL)[1]  # type: ignore[index]


def run(commands: str) -> str:
    """Runs commands of the page; what they print. Each has to succeed."""
    return shell(script=commands)


@pytest.fixture(scope="module")
def syslog() -> Iterator[Syslog]:
    """As on Debian: the journal takes what is logged, and passes it on."""
    DIRECTORY.mkdir(parents=True)
    with Syslog(MAIL_LOG, HOST.partition(".")[0], FORWARDED) as syslog, Journald():
        yield syslog


@pytest.fixture(scope="module")
def server(registry: Registry, syslog: Syslog) -> Iterator[str]:
    """The mail server of this isolation runs as its package set it up."""
    name = os.environ["SMTPNIC_TEST_SERVER"]
    os.environ["PATH"] = f"{Path(program('smtpnic')).parent}:{os.environ['PATH']}"
    Path("/etc/aliases").write_text("postmaster: root\nroot: mail\n", encoding="utf-8")
    if name == "opensmtpd":
        Path("/usr/local/bin/smtpnic-policyd").symlink_to(program("smtpnic-policyd"))
        open_to_others(Path(sys.base_prefix))
        # As systemd does, and Debian's script does not: a restart waits for the end of the old one.
        script = Path("/etc/init.d/opensmtpd")
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace("--stop", "--stop --retry 30"), encoding="utf-8")
        settings = Path("/etc/smtpd.conf")
        text = settings.read_text(encoding="utf-8")
        own = 'match from any for domain "mx.receiver.example" action "local"\n'
        settings.write_text(text + own, encoding="utf-8")
    if name == "sendmail":
        shell("newaliases")
        mc = Path("/etc/mail/sendmail.mc")
        text = mc.read_text(encoding="utf-8")
        mc.write_text(text.replace("\nDAEMON_OPTIONS", f"\n{UNDER_LOAD}DAEMON_OPTIONS", 1), "utf-8")
        shell("make", "-C", "/etc/mail")
    if name == "rspamd":
        # Preparing its other rules for hyperscan takes a minute of a core.
        Path("/etc/rspamd/local.d/options.inc").write_text("disable_hyperscan = true;\n")
    service = SERVICES.get(name, name)
    shell("service", service, "start")
    if name not in FILTERS:
        wait_listening(["127.0.0.1"])
    yield name
    subprocess.run(["service", service, "stop"], check=False, capture_output=True)


def _outcome(address: str) -> str:
    wait_listening(["127.0.0.1"])
    return deliver(address).outcome


def _has_lines(server: str) -> bool:
    found = subprocess.run(["grep", "-rlq", "SMTPNIC_UNREGISTERED", CHECKED[server]], check=False)
    return found.returncode == 0


def test_the_page_sets_it_up_and_takes_it_out_again(server: str) -> None:
    """Advise, enforce, and back: each checked by the server, and seen by a client."""
    title = TITLES[server]
    printed = run(page_commands(title, "Advise"))
    assert ZONE in printed
    if server in FILTERS:
        assert _has_lines(server)
    else:
        assert ACCEPTED == _outcome(UNREGISTERED_IPV4)
    run(page_commands(title, "Enforce"))
    if server in FILTERS:
        assert _has_lines(server)
    else:
        assert REFUSED == _outcome(UNREGISTERED_IPV4)
        assert DENIED in deliver(UNREGISTERED_IPV4).refusal
        assert ACCEPTED == _outcome(REGISTERED_IPV4)
    run(page_commands(title, "Back to what it was"))
    if server in FILTERS:
        assert not _has_lines(server)
    else:
        assert ACCEPTED == _outcome(UNREGISTERED_IPV4)


def test_it_can_be_tried(server: str, registry: Registry) -> None:
    """As several clients see it; for an address that is not this machine's Exim plays a session."""
    if server in FILTERS:
        pytest.skip("no SMTP server")
    run(page_commands(TITLES[server], "Enforce").partition("\n")[2])
    wait_listening(["127.0.0.1"])
    try:
        last_words = "the machine does not have is not tried"
        run(page_commands("Look before you enforce", last_words))
        run("smtpnic receiver test " + f'"{POSTMASTER}"')
        clients = (REGISTERED_IPV4, UNREGISTERED_IPV4, "192.0.2.77")
        options = " ".join(f"--from {client}" for client in clients)
        found = json.loads(run(f"smtpnic --json receiver test root@mx.receiver.example {options}"))
        assert [
            (REGISTERED_IPV4, "registered", "accepted"),
            (UNREGISTERED_IPV4, "not registered", "refused"),
            ("192.0.2.77", "not registered", "refused" if server == "exim" else "not tried"),
        ] == [(row["address"], row["registry"], row["outcome"]) for row in found["sessions"]]
        assert (server == "exim") == found["sessions"][-1]["played"]
    finally:
        run(page_commands(TITLES[server], "Back to what it was"))


def test_the_guard_stops_enforcing_when_the_list_is_wrong(server: str, registry: Registry) -> None:
    """It is silent while the list is right; then it undoes what was set up, and reloads."""
    kind = f"--server-kind {server}"
    run(page_commands(TITLES[server], "Enforce").partition("\n")[2])
    guard = page_commands("A guard")
    if server in FILTERS:
        guard = guard.replace("--stop", f"--stop {kind}")
    try:
        assert "" == run(guard)
        with registry.resolver.failing(Fault.LIE):
            done = subprocess.run(guard, shell=True, capture_output=True, text=True, check=False)
            assert 1 == done.returncode
            assert "1.0.0.127.list.smtpnic.org." in done.stdout
            assert "enforces nothing any more" in done.stderr
        if server not in FILTERS:
            assert ACCEPTED == _outcome(UNREGISTERED_IPV4)
        else:
            assert not _has_lines(server)
    finally:
        subprocess.run(f"smtpnic receiver setup {kind} --undo", shell=True, check=False)


def test_the_report_says_whom_enforcement_would_refuse(
    server: str, syslog: Syslog, tmp_path: Path
) -> None:
    """From the log that the server itself wrote, of what it took."""
    if server not in ("sendmail", "postfix", "exim"):
        pytest.skip("its log is not read")
    for address in (REGISTERED_IPV4, UNREGISTERED_IPV4, UNREGISTERED_IPV4):
        assert ACCEPTED == _outcome(address)
    report = page_commands("Look before you enforce")
    shown = run(report)
    assert "refused" in shown
    csv_file = tmp_path / "clients.csv"
    found = json.loads(run(f"smtpnic --json {report.split(None, 1)[1].strip()} --csv {csv_file}"))
    rows = {row["address"]: row for row in found["clients"]}
    assert "registered" == rows[REGISTERED_IPV4]["registry"]
    assert 0 == rows[REGISTERED_IPV4]["refused"]
    assert rows[UNREGISTERED_IPV4]["refused"] >= 2
    assert rows[UNREGISTERED_IPV4]["refused"] == found["refused_messages"]
    assert UNREGISTERED_IPV4 in csv_file.read_text(encoding="utf-8")


def test_the_report_reads_the_journal_as_well(server: str, syslog: Syslog) -> None:
    """`--journal`: this machine's, as the server and systemd's own daemon wrote it."""
    if server not in ("sendmail", "postfix", "exim"):
        pytest.skip("its log is not read")
    if server == "exim":
        template = Path("/etc/exim4/exim4.conf.template")
        text = template.read_text(encoding="utf-8")
        template.write_text(
            text.replace("\nbegin acl\n", "\nlog_file_path = syslog\nbegin acl\n", 1)
        )
        shell("service", "exim4", "restart")
    assert ACCEPTED == _outcome(UNREGISTERED_IPV4)
    printed = page_commands("Look before you enforce").strip()
    command = f"{printed} --journal"

    def messages() -> int:
        found = json.loads(run(command.replace("smtpnic", "smtpnic --json")))
        rows = {row["address"]: row for row in found["clients"]}
        return int(rows[UNREGISTERED_IPV4]["refused"]) if UNREGISTERED_IPV4 in rows else 0

    assert wait_until(messages, seconds=30, what="the message in the journal")
    assert "refused" in run(command)

    # As it is where nobody writes files.
    for log in find_logs():
        log.unlink()
    said = run(printed)
    assert "reading systemd's journal" in said
    assert UNREGISTERED_IPV4 in said


def test_what_does_not_pass_the_servers_check_is_put_back(server: str) -> None:
    """A configuration that is broken elsewhere: nothing is changed by the attempt."""
    broken = {
        "sendmail": ("/etc/mail/sendmail.mc", "LOCAL_CONFIG\nKbroken nosuchmap\n"),
        "postfix": ("/etc/postfix/master.cf", "broken line\n"),
        "exim": ("/etc/exim4/exim4.conf.localmacros", "this is no macro\n"),
        "opensmtpd": ("/etc/smtpd.conf", "this is nothing\n"),
        "rspamd": ("/etc/rspamd/rspamd.conf.local", "broken {\n"),
        "spamassassin": ("/etc/spamassassin/local.cf", "this_is_nothing 1\n"),
    }
    path, line = Path(broken[server][0]), broken[server][1]
    before = path.read_text(encoding="utf-8") if path.exists() else None
    text = line + (before or "") if server != "sendmail" else f"{before}{line}"
    path.write_text(text, encoding="utf-8")
    command = f"smtpnic receiver setup --server-kind {server} --mode enforce --write"
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert 2 == done.returncode, done.stdout + done.stderr
        assert text == path.read_text(encoding="utf-8")
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")


def test_unregistered_ipv6_is_looked_up_too(server: str) -> None:
    """The page's configuration holds for both families; where the package listens on both."""
    if server != "exim":
        pytest.skip("listens on IPv4 alone as it comes, or is no SMTP server")
    run(page_commands(TITLES[server], "Enforce").partition("\n")[2])
    try:
        wait_listening(["127.0.0.1"])
        assert REFUSED == deliver(UNREGISTERED_IPV6).outcome
    finally:
        run(page_commands(TITLES[server], "Back to what it was"))
