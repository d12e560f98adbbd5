"""receiver setup: what goes where, and back again."""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.receiving import Mode, OnFailure
from smtpnic.receiving import installation, server_kinds
from smtpnic.receiving.server_kinds import KINDS, ServerKind, Target, detect, kind_named
from smtpnic.receiving.smtp_session import hold


def moved(name: str, directory: Path, check: tuple[str, ...] = ("true",)) -> ServerKind:
    """The kind with its files in another directory, and another check."""
    kind = kind_named(name)

    def move(target: Target) -> Target:
        return replace(target, path=directory / target.path.name)

    targets = {mode: tuple(map(move, each)) for mode, each in kind.targets.items()}
    return replace(kind, targets=targets, build=(), checks=(check,))


POSTFIX = "myhostname = mx.example\nmynetworks = 127.0.0.0/8\n"


def test_lines_go_in_and_out_again(tmp_path: Path) -> None:
    """With mode and content as they were."""
    main = tmp_path / "main.cf"
    main.write_text(POSTFIX)
    main.chmod(0o640)
    kind = moved("postfix", tmp_path)
    installation.install(kind, kind.edits("enforce", "smtpnic.org"))
    assert main.read_text().startswith(POSTFIX)
    assert "reject_rbl_client unlisted.smtpnic.org=127.0.0.2" in main.read_text()
    assert 0o640 == main.stat().st_mode & 0o777
    with pytest.raises(ConfigurationError, match="undo that first"):
        installation.refuse_twice(kind)
    assert [main] == installation.undo(kind)
    assert POSTFIX == main.read_text()
    assert [main] == list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="nothing to undo"):
        installation.undo(kind)


def test_what_the_server_does_not_take_is_put_back(tmp_path: Path) -> None:
    """New files are gone, old ones are as they were."""
    kind = moved("exim", tmp_path, ("sh", "-c", "echo not like this >&2; exit 3"))
    with pytest.raises(ConfigurationError, match="not like this"):
        installation.install(kind, kind.edits("enforce", "smtpnic.org"))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "file", "held", "message"),
    [
        ("postfix", "main.cf", "smtpd_recipient_restrictions = reject\n", "sets smtpd_recipient"),
        ("postfix", "main.cf", None, "there is no"),
        ("postfix-policyd", "policyd.toml", 'mode = "enforce"\n', "sets mode already"),
        ("postfix-policyd", "policyd.toml", 'on_failure = "tempfail"\n', "sets on_failure already"),
        ("sendmail", "sendmail.mc", "divert(-1)\n", "no MAILER line"),
        ("exim", "exim4.conf.localmacros", "CHECK_RCPT_LOCAL_ACL_FILE = /x\n", "already"),
        ("exim", "smtpnic.acl", "deny\n", "holds something"),
        ("opensmtpd", "smtpd.conf", "listen on lo filter x auth\n", "has a filter"),
        ("rspamd", "rbl.conf", "rbls {}\n", "holds something"),
    ],
)
def test_what_is_in_the_way_is_left_alone(
    name: str, file: str, held: str | None, message: str, tmp_path: Path
) -> None:
    """And said: a person merges it."""
    (tmp_path / "main.cf").write_text(POSTFIX)
    (tmp_path / file).unlink(missing_ok=True)
    if held is not None:
        (tmp_path / file).write_text(held)
    with pytest.raises(ConfigurationError, match=message):
        moved(name, tmp_path).edits("enforce", "smtpnic.org")


@pytest.mark.parametrize("undone", ["postfix", "postfix-policyd"])
def test_what_shares_a_file_is_taken_out_as_a_whole(
    undone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard that knows of Postfix alone undoes the policy service's settings with main.cf."""
    kinds = {name: moved(name, tmp_path) for name in ("postfix", "postfix-policyd")}
    monkeypatch.setattr(server_kinds, "KINDS", tuple(kinds.values()))
    (tmp_path / "main.cf").write_text(POSTFIX)
    (tmp_path / "policyd.toml").write_text("guard_seconds = 1\n")
    kind = kinds["postfix-policyd"]
    installation.install(kind, kind.edits("enforce-tempfail", "registry.example"))
    assert "check_policy_service" in (tmp_path / "main.cf").read_text()
    assert {
        "mode": "enforce",
        "on_failure": "tempfail",
        "zone": "registry.example",
        "guard_seconds": 1,
    } == tomllib.loads((tmp_path / "policyd.toml").read_text())
    for each in kinds.values():
        with pytest.raises(ConfigurationError, match="undo that first"):
            installation.refuse_twice(each)
    installation.undo(kinds[undone])
    assert {"main.cf": POSTFIX, "policyd.toml": "guard_seconds = 1\n"} == {
        path.name: path.read_text() for path in tmp_path.iterdir()
    }


def test_a_new_directory_is_open_to_who_reads_its_files(tmp_path: Path) -> None:
    """Whatever root's umask is: policy services and mail servers are other users."""
    kind = moved("exim", tmp_path / "new")
    before = os.umask(0o077)
    try:
        installation.install(kind, kind.edits("enforce", "smtpnic.org"))
    finally:
        os.umask(before)
    assert 0o755 == (tmp_path / "new").stat().st_mode & 0o777
    assert {0o644} == {
        path.stat().st_mode & 0o777
        for path in (tmp_path / "new").iterdir()
        if not path.name.endswith(installation.ABSENT_SUFFIX)
    }


def test_sendmails_lines_come_before_its_mailers(tmp_path: Path) -> None:
    """As m4 needs them."""
    mailers = "MAILER_DEFINITIONS\nMAILER(`smtp')\n"
    (tmp_path / "sendmail.mc").write_text(f"OSTYPE(`debian')dnl\n{mailers}")
    (edit,) = moved("sendmail", tmp_path).edits("enforce", "smtpnic.org")
    assert edit.text.startswith("OSTYPE(`debian')dnl\ndnl SMTP Registry")
    assert edit.text.endswith(f"divert(0)\n{mailers}")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_what_its_modes_name(kind: ServerKind, tmp_path: Path) -> None:
    """Advise and enforce, for another zone too; tempfail where the server can."""
    held = {
        "main.cf": POSTFIX,
        "sendmail.mc": "MAILER(`smtp')\n",
        "smtpd.conf": "listen on lo\n",
    }
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    here = moved(kind.name, tmp_path)
    for mode in Mode:
        edits = here.edits(here.variant(mode, OnFailure.ACCEPT), "registry.example")
        written = "".join(edit.lines for edit in edits)
        assert "smtpnic.org" not in written
        assert "smtpnic[.]org" not in written
        assert "registry.example" in written
    if "enforce-tempfail" not in here.targets:
        with pytest.raises(ConfigurationError, match="cannot tell a sender to try again"):
            here.variant(Mode.ENFORCE, OnFailure.TEMPFAIL)


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (("master", "smtpd", "rspamd"), "postfix"),
        (("smtpd",), "opensmtpd"),
        (("sendmail-mta", "spamd"), "sendmail"),
        (("exim4",), "exim"),
        (("rspamd",), "rspamd"),
        (("exim4", "master"), None),
    ],
)
def test_what_runs_is_what_is_set_up(
    running: tuple[str, ...], expected: str | None, tmp_path: Path
) -> None:
    """The mail server before its filters; with two of them a person chooses."""
    for number, name in enumerate(running):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    if expected is None:
        with pytest.raises(ConfigurationError, match="--server-kind"):
            detect(tmp_path)
    else:
        assert expected == detect(tmp_path).name


@contextmanager
def smtp_server(rcpt: bytes) -> Iterator[Endpoint]:
    """A server for one session that answers RCPT so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with (
                suppress(ConnectionError),
                connection,
                connection.makefile("rwb", buffering=0) as stream,
            ):
                stream.write(b"220-mx.example\r\n220 ready\r\n")
                for line in stream:
                    stream.write(rcpt if line.startswith(b"RCPT") else b"250 ok\r\n")

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint(*listening.getsockname())
        thread.join(5)


@pytest.mark.parametrize(
    ("rcpt", "outcome"),
    [
        (b"250-ok\r\n250 but\r\n", "accepted"),
        (b"550 5.7.1 communication denied\r\n", "refused"),
        (b"451 4.4.3 later\r\n", "told to try again"),
    ],
)
def test_a_session_ends_at_rcpt(rcpt: bytes, outcome: str) -> None:
    """What it was answered is shown as it came."""
    with smtp_server(rcpt) as server:
        seen = hold(server, "127.0.0.1", "a@mx.example", 5)
    assert outcome == seen.outcome
    assert rcpt.decode().replace("\r\n", "\n").rstrip() == seen.reply
    assert "220-mx.example\n220 ready" == seen.greeting


def test_an_address_of_another_machine_is_not_tried() -> None:
    """There is no honest way to."""

    def outcome(source: str) -> str:
        return hold(Endpoint("127.0.0.1", 1), source, "a@mx.example", 5).outcome

    assert "not tried" == outcome("192.0.2.1")
    assert "failed" == outcome("127.0.0.1")
