"""The board: who signs, what is proposed, signed and published, and what was decided."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from node.errors import ConfigurationError
from node.exits import ExitCode
from node.files import write_atomic
from registry.board_text import BoardMember, format_time
from registry.decision import Decision, parse_act
from registry.errors import MalformedError, Problem
from registry.root import DAY, Root, board_text
from registry.root_chain import RootChain
from smtpnic.board_files import PUBLIC_MODE, Document, read_document, write_new
from smtpnic.board_keys import read_public_key, read_signature, sign_with_file, sign_with_ssh
from smtpnic.client.board import LoggedText
from smtpnic.commands.board_glue import glue_diff
from smtpnic.commands.board_root import propose_root
from smtpnic.errors import EXIT_CODES
from smtpnic.output import Output, time_text
from smtpnic.session import Session

DEFAULT_OPEN_DAYS: Final = 14
MAX_OPEN_DAYS: Final = 90

app = typer.Typer(no_args_is_help=True, help="Decide together: k of n sign, anyone can verify.")
app.command("propose-root", epilog=EXIT_CODES)(propose_root)
app.command("glue-diff", epilog=EXIT_CODES)(glue_diff)

TextFile = Annotated[Path, typer.Argument(metavar="FILE", help="A root or a decision.")]
NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="To be written; it must not exist.")]


@app.command(epilog=EXIT_CODES)
def init(
    file: NewFile,
    *,
    threshold: Annotated[int, typer.Option(min=1, help="How many have to sign: k of n.")],
    member: Annotated[
        list[str], typer.Option(metavar="NAME=KEY.pub", help="A member; once for each.")
    ],
) -> None:
    """Writes down who the board is, for `smtpnic-primary init --board FILE`."""
    members = [parse_named_key(each) for each in member]
    if threshold > len(members) or len({each.key.point for each in members}) < len(members):
        raise Problem("board", "give as many different keys as have to sign, or more", "member")
    write_new(file, board_text(threshold, members).encode())


@app.command(epilog=EXIT_CODES)
def propose(
    context: typer.Context,
    file: NewFile,
    act: Annotated[
        list[str],
        typer.Argument(
            metavar="ACT...",
            help="suspend|restore registration ADDRESS, holder HEX or prefix NETWORK; "
            "admit|remove NAME; policy NAME VALUE; extend staleness TIME; lapses all|none TIME",
        ),
    ],
    *,
    reason: Annotated[str, typer.Option(help="For everybody to read, for ever.")],
    days: Annotated[int, typer.Option(min=1, max=MAX_OPEN_DAYS, help="Void after so long.")] = (
        DEFAULT_OPEN_DAYS
    ),
) -> None:
    """Writes a decision, to be signed: by you with `board sign`, then by others."""
    session: Session = context.obj
    root = _newest(session).current
    now_s = int(time.time())
    try:
        decision = Decision(
            root.origin, root.version, now_s, now_s + days * DAY, parse_act(" ".join(act)), reason
        )
    except MalformedError as error:
        raise Problem("board", str(error)) from error
    write_new(file, decision.text().encode())
    session.output.note(decision.text())


@app.command(epilog=EXIT_CODES)
def sign(
    context: typer.Context,
    file: TextFile,
    *,
    key: Annotated[
        Path | None, typer.Option(help="Your private key: PKCS#8, encrypted or not, or OpenSSH.")
    ] = None,
    ssh: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY.pub",
            help="Sign by the SSH agent, a security token, or an encrypted SSH key.",
        ),
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option(metavar="FILE.sig", help="Add what `ssh-keygen -Y sign` made elsewhere."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write there (default: the same file).")] = None,
) -> None:
    """Adds your signature to a file. Nothing is sent.

    Read the file first: what you sign is its text, byte by byte. No network is needed, if --root
    names the root that the file goes by; if not, a server is asked for it.
    """
    session: Session = context.obj
    document = read_document(file)
    chain = _known(session, document)
    if [key, ssh, signature].count(None) != 2:
        raise ConfigurationError("give one of --key, --ssh and --signature")
    text, namespace = document.signed.text, document.namespace
    if key is not None:
        made = sign_with_file(key, text, namespace, lambda: _passphrase(key))
    elif ssh is not None:
        made = sign_with_ssh(ssh, text, namespace)
    else:
        assert signature is not None
        made = read_signature(_read(signature), str(signature))
    members = document.members(chain)
    signed = document.with_signature(made, members)
    write_atomic(out or file, signed.signed.encode(), PUBLIC_MODE)
    _say_standing(session.output, signed, chain)


@app.command(epilog=EXIT_CODES)
def publish(context: typer.Context, file: TextFile) -> None:
    """Hands a file to the primary: it keeps the signatures, and acts once there are enough."""
    session: Session = context.obj
    document = read_document(file)
    with session.board(session.settings()) as board:
        done = board.submit(document.signed.encode())
    session.output.values(
        {
            "state": "in the log" if done.index else "waits for more signatures",
            "signed": list(done.signed),
            "threshold": done.threshold,
            "index": done.index or None,
        }
    )


@app.command(epilog=EXIT_CODES)
def show(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE")] = None,
) -> None:
    """Shows a file and who signed it; without one, what the board has decided and proposed.

    Everything that a server gives is verified.
    """
    session: Session = context.obj
    if file is not None:
        document = read_document(file)
        session.output.values(_fields(document, _known(session, document)))
        return
    settings = session.settings()
    chain = _newest(session)
    with session.board(settings) as board:
        decisions, proposals = board.decisions(), board.proposals()
    rows = [_decided(each, chain) for each in decisions]
    rows += [_proposed(Document.decode(each), chain) for each in proposals]
    if not rows:
        session.output.note("nothing is decided, nothing is proposed")
    session.output.table("decisions", rows, root=chain.version)


@app.command(epilog=EXIT_CODES)
def verify(context: typer.Context, file: TextFile) -> None:
    """Verifies that enough of the board signed a file. Exit code 1: they did not."""
    session: Session = context.obj
    document = read_document(file)
    chain = _known(session, document)
    _say_standing(session.output, document, chain)
    if not document.is_signed(chain):
        raise typer.Exit(ExitCode.FAILED)


def parse_named_key(text: str) -> BoardMember:
    """The member in NAME=KEY.pub; ConfigurationError."""
    name, equals, path = text.partition("=")
    if not equals:
        raise ConfigurationError(f"{text!r}: expected NAME=KEY.pub")
    try:
        return BoardMember(name, read_public_key(Path(path)))
    except MalformedError as error:
        raise ConfigurationError(str(error)) from error


def _known(session: Session, document: Document) -> RootChain | None:
    """The chain that a document is judged by; newer roots are asked for if it needs them."""
    keys = session.keys(session.settings())
    if keys is None:
        return None
    needed = document.content
    version = needed.version - 1 if isinstance(needed, Root) else needed.root_version
    if keys.chain.version_at(version) is None and version:
        keys.renew()
    return keys.chain


def _newest(session: Session) -> RootChain:
    """The newest chain that can be had."""
    keys = session.require_keys(session.settings())
    keys.renew()
    return keys.chain


def _passphrase(path: Path) -> str:
    return str(typer.prompt(f"passphrase of {path}", hide_input=True, err=True))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


def _say_standing(output: Output, document: Document, chain: RootChain | None) -> None:
    rows = [
        {"signed": ", ".join(signed) or "nobody", "threshold": threshold, "board": count}
        for signed, threshold, count in document.standing(chain)
    ]
    output.table("boards", rows, is_signed=document.is_signed(chain))


def _fields(document: Document, chain: RootChain | None) -> dict[str, object]:
    content = document.content
    standing = document.standing(chain)
    return {
        "text": document.signed.text,
        **_summary(content),
        "signed": [", ".join(signed) or "nobody" for signed, _, _ in standing],
        "threshold": [f"{threshold} of {count}" for _, threshold, count in standing],
        "is_signed": document.is_signed(chain),
    }


def _summary(content: Root | Decision) -> dict[str, object]:
    if isinstance(content, Decision):
        return {
            "act": content.act.line(),
            "reason": content.reason,
            "root": content.root_version,
            "expires": format_time(content.expires_s),
        }
    return {
        "act": f"root {content.version} of {content.origin}",
        "board": [f"{each.name} {each.key.fingerprint()}" for each in content.board],
        "log_keys": [
            f"{key.verifier.vkey()} {key.first} to {'-' if key.last is None else key.last}"
            for key in content.log_keys
        ],
        "expires": format_time(content.expires_s),
        **content.policies.values(),
    }


def _decided(logged: LoggedText, chain: RootChain) -> dict[str, object]:
    document = Document.decode(logged.text)
    if not document.is_signed(chain):
        raise MalformedError(f"the primary shows a decision at {logged.index} that is not signed")
    return {
        **_row(document, chain),
        "state": "decided",
        "index": logged.index,
        "time": time_text(logged.time_ms),
    }


def _proposed(document: Document, chain: RootChain) -> dict[str, object]:
    return {**_row(document, chain), "state": "proposed", "index": None, "time": ""}


def _row(document: Document, chain: RootChain) -> dict[str, object]:
    content = document.content
    summary = _summary(content)
    return {
        "act": summary["act"],
        "reason": summary.get("reason", ""),
        "signed": ", ".join(
            dict.fromkeys(name for signed, _, _ in document.standing(chain) for name in signed)
        ),
    }
