"""The mail servers that can be set up: how they are recognised, where lines go, who checks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.receiving import Mode, OnFailure

ENCODING: Final = "utf-8"
# The zone that the files of receivers/ are written for.
WRITTEN_ZONE: Final = "smtpnic.org"


@dataclass(frozen=True, slots=True)
class Edit:
    """A file as it is to be; `lines` are those that it gets, `where` tells people where."""

    path: Path
    lines: str
    where: str
    text: str


Command = tuple[str, ...]
# Given the lines and what the file holds (None: there is no file), the file as it is to be.
Placing = Callable[[str, str | None, Path], str]


@dataclass(frozen=True, slots=True)
class Target:
    """A file that gets lines: those of `fragment` below receivers/, put in by `place`."""

    fragment: str
    path: Path
    where: str
    place: Placing


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A mail server or filter.

    `processes` are names of its running daemon, `programs` where its program may be. `targets`
    are told for each mode; `build` makes what it reads of what people write, `checks` are its own
    of its configuration, `reload` makes a running one read it, and `play`, if there is such a
    command, plays a session of the client whose address follows it. `services` start what it asks,
    or start that anew: a person does so after setting it up; who takes it out need not.
    """

    name: str
    title: str
    processes: tuple[str, ...]
    programs: tuple[str, ...]
    targets: Mapping[str, tuple[Target, ...]]
    build: Command
    checks: tuple[Command, ...]
    reload: Command
    play: Command = ()
    services: tuple[Command, ...] = ()

    def variant(self, mode: Mode, on_failure: OnFailure) -> str:
        """The name of its configuration; ConfigurationError says which ones there are."""
        is_strict = mode is Mode.ENFORCE and on_failure is OnFailure.TEMPFAIL
        name = "enforce-tempfail" if is_strict else str(mode)
        if name not in self.targets:
            raise ConfigurationError(
                f"{self.title} cannot tell a sender to try again: it has {', '.join(self.targets)}"
            )
        return name

    @property
    def paths(self) -> frozenset[Path]:
        """All files that it may get lines in."""
        return frozenset(target.path for each in self.targets.values() for target in each)

    def edits(self, variant: str, zone: str) -> list[Edit]:
        """What has to change for a variant; ConfigurationError if it cannot be put in."""
        found = []
        for target in self.targets[variant]:
            lines = fragment_text(target.fragment).replace(WRITTEN_ZONE, zone)
            # As regular expressions have it.
            lines = lines.replace(WRITTEN_ZONE.replace(".", "[.]"), zone.replace(".", "[.]"))
            held = read(target.path)
            found.append(
                Edit(
                    target.path,
                    lines,
                    f"{target.path}: {target.where}",
                    target.place(lines, held, target.path),
                )
            )
        return found


def fragment_text(name: str) -> str:
    """A file of receivers/."""
    return files("receivers").joinpath(name).read_text(ENCODING)


def read(path: Path) -> str | None:
    """What the file holds; None if there is none. ConfigurationError if it cannot be read."""
    try:
        return path.read_text(ENCODING)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def _required(held: str | None, path: Path) -> str:
    if held is None:
        raise ConfigurationError(f"there is no {path}: put the lines in by hand")
    return held


def _new_file(lines: str, held: str | None, path: Path) -> str:
    if held is not None and held.strip():
        raise ConfigurationError(f"{path} holds something already: put the lines in by hand")
    return lines


def _before_mailers(lines: str, held: str | None, path: Path) -> str:
    text = _required(held, path)
    found = re.search(r"(?m)^(MAILER_DEFINITIONS|MAILER\()", text)
    if found is None:
        raise ConfigurationError(f"{path} has no MAILER line: put the lines before its mailers")
    return text[: found.start()] + lines + text[found.start() :]


def _set_already(lines: str, text: str) -> str:
    """Which of the names that the lines set the text sets too."""
    names = re.findall(r"(?m)^([a-z_]+) *=", lines)
    return ", ".join(name for name in names if re.search(rf"(?m)^{name} *=", text))


def _postfix_parameters(lines: str, held: str | None, path: Path) -> str:
    text = _required(held, path)
    if present := _set_already(lines, text):
        raise ConfigurationError(
            f"{path} sets {present} already: put what is new into what stands there"
        )
    return text.rstrip("\n") + "\n" + lines


def _policyd_settings(lines: str, held: str | None, path: Path) -> str:
    text = held or ""
    if present := _set_already(lines, text):
        raise ConfigurationError(f"{path} sets {present} already: take that out of it first")
    return lines + text


def _exim_macro(lines: str, held: str | None, path: Path) -> str:
    text = held or ""
    if "CHECK_RCPT_LOCAL_ACL_FILE" in text:
        raise ConfigurationError(
            f"{path} sets CHECK_RCPT_LOCAL_ACL_FILE already: put the lines into that file"
        )
    return text + lines


def _smtpd_filter(lines: str, held: str | None, path: Path) -> str:
    text = _required(held, path)
    if re.search(r"(?m)^listen on .* filter ", text):
        raise ConfigurationError(f"{path} has a filter already: chain ours to it by hand")
    return lines + re.sub(r"(?m)^(listen on .*)$", r"\1 filter registry", text)


def _sendmail(name: str) -> tuple[Target, ...]:
    path = Path("/etc/mail/sendmail.mc")
    return (Target(f"sendmail/{name}.mc", path, "before the MAILER lines", _before_mailers),)


def _postfix(name: str) -> tuple[Target, ...]:
    path = Path("/etc/postfix/main.cf")
    return (Target(f"postfix/{name}.cf", path, "at the end", _postfix_parameters),)


def _postfix_policyd(name: str) -> tuple[Target, ...]:
    # Which mode it is, the service says: Postfix asks in the same words for both that enforce.
    (parameters,) = _postfix("advise-policyd" if name == "advise" else "enforce-policyd")
    settings = Path("/etc/smtpnic/policyd.toml")
    return (parameters, Target(f"policyd/{name}.toml", settings, "first", _policyd_settings))


def _exim(name: str) -> tuple[Target, ...]:
    macros = Path("/etc/exim4/exim4.conf.localmacros")
    return (
        Target(f"exim/{name}.acl", Path("/etc/exim4/smtpnic.acl"), "a new file", _new_file),
        Target("exim/localmacros", macros, "at the end", _exim_macro),
    )


def _opensmtpd(name: str) -> tuple[Target, ...]:
    path = Path("/etc/smtpd.conf")
    where = "first, and `filter registry` on each `listen`"
    return (Target(f"opensmtpd/{name}.conf", path, where, _smtpd_filter),)


def _rspamd(name: str, *names: str) -> tuple[Target, ...]:
    local = Path("/etc/rspamd/local.d")
    return tuple(
        Target(f"rspamd/{name}/{file}", local / file, "a new file", _new_file) for file in names
    )


def _spamassassin(name: str) -> tuple[Target, ...]:
    path = Path("/etc/spamassassin/smtpnic.cf")
    return (Target(f"spamassassin/{name}.cf", path, "a new file", _new_file),)


_ALL: Final = ("advise", "enforce", "enforce-tempfail")
_NO_BUILD: Final = ()
_RSPAMD_ENFORCING: Final = ("rbl.conf", "force_actions.conf", "settings.conf")

KINDS: Final = (
    ServerKind(
        "sendmail",
        "sendmail",
        ("sendmail-mta", "sendmail"),
        ("/usr/lib/sm.bin/sendmail", "/usr/libexec/sendmail-mta"),
        {name: _sendmail(name) for name in _ALL},
        ("make", "-C", "/etc/mail"),
        (("sendmail", "-C", "/etc/mail/sendmail.cf", "-bt"),),
        ("service", "sendmail", "reload"),
    ),
    ServerKind(
        "postfix",
        "Postfix",
        ("master",),
        ("/usr/sbin/postfix",),
        {name: _postfix(name) for name in _ALL},
        _NO_BUILD,
        (("postfix", "check"),),
        ("postfix", "reload"),
    ),
    # Nothing tells it from Postfix, until it is set up: it is set up by its name alone.
    ServerKind(
        "postfix-policyd",
        "Postfix with smtpnic-policyd",
        (),
        (),
        {name: _postfix_policyd(name) for name in _ALL},
        _NO_BUILD,
        # Where its unit has it.
        (("/usr/local/bin/smtpnic-policyd", "check"), ("postfix", "check")),
        ("postfix", "reload"),
        services=(
            ("systemctl", "enable", "--now", "smtpnic-policyd.socket"),
            # It reads its settings when it starts.
            ("systemctl", "try-restart", "smtpnic-policyd.service"),
        ),
    ),
    ServerKind(
        "exim",
        "Exim",
        ("exim4",),
        ("/usr/sbin/exim4",),
        {name: _exim(name) for name in _ALL},
        ("update-exim4.conf",),
        (("exim4", "-bV"),),
        ("service", "exim4", "restart"),
        play=("exim4", "-bh"),
    ),
    ServerKind(
        "opensmtpd",
        "OpenSMTPD",
        ("smtpd",),
        ("/usr/sbin/smtpd",),
        {name: _opensmtpd(name) for name in _ALL},
        _NO_BUILD,
        (("smtpd", "-n"),),
        ("service", "opensmtpd", "restart"),
    ),
    ServerKind(
        "rspamd",
        "rspamd",
        ("rspamd",),
        ("/usr/bin/rspamd",),
        {
            "advise": _rspamd("advise", "rbl.conf"),
            **{name: _rspamd(name, *_RSPAMD_ENFORCING) for name in ("enforce", "enforce-tempfail")},
        },
        _NO_BUILD,
        (("rspamadm", "configtest"),),
        ("service", "rspamd", "restart"),
    ),
    ServerKind(
        "spamassassin",
        "SpamAssassin",
        ("spamd",),
        ("/usr/sbin/spamd", "/usr/bin/spamassassin"),
        {name: _spamassassin(name) for name in ("advise", "enforce")},
        _NO_BUILD,
        (("spamassassin", "--lint"),),
        ("service", "spamd", "restart"),
    ),
)


def kind_named(name: str) -> ServerKind:
    """The kind of this name; ConfigurationError names those that there are."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    names = ", ".join(kind.name for kind in KINDS)
    raise ConfigurationError(f"{name!r} is no mail server known here: give one of {names}")


def sharing(kind: ServerKind) -> list[ServerKind]:
    """This kind, and those that get lines in a file of its own: one of them can be set up."""
    others = [each for each in KINDS if each.name != kind.name and each.paths & kind.paths]
    return [kind, *others]


def detect(proc: Path = Path("/proc")) -> ServerKind:
    """The mail server that runs here, else the one installed; ConfigurationError if not one."""
    running = {_command_of(directory) for directory in proc.glob("[0-9]*")}
    if "master" in running:
        # Postfix, one of whose processes has the name that all of OpenSMTPD's have.
        running.discard("smtpd")
    found = [kind for kind in KINDS if running.intersection(kind.processes)]
    # A filter runs beside a mail server: the server is the one that can refuse.
    servers = [kind for kind in found if kind.name not in ("rspamd", "spamassassin")] or found
    if not servers:
        servers = [kind for kind in KINDS if any(Path(path).exists() for path in kind.programs)]
    if len(servers) == 1:
        return servers[0]
    names = ", ".join(kind.name for kind in servers) or "none"
    raise ConfigurationError(f"mail servers found here: {names}; name one with --server-kind")


def _command_of(directory: Path) -> str:
    try:
        return (directory / "comm").read_text(ENCODING).strip()
    except OSError:
        return ""
