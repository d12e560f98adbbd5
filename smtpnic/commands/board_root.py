"""The next root, proposed: the one that holds, with what is to change."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from node.errors import ConfigurationError
from node.tls import read_certificates
from registry.board_text import BoardMember, parse_number
from registry.errors import MalformedError, Problem
from registry.note import CosignatureVerifier, Verifier, decode_base64
from registry.root import DAY, Anchor, LogKey, Policies, Root
from smtpnic.board_files import write_new
from smtpnic.board_keys import read_public_key
from smtpnic.session import Session

DEFAULT_DAYS: Final = 365
MAX_DAYS: Final = 3650

Names = list[str] | None


def propose_root(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written.")],
    *,
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="Its life.")] = DEFAULT_DAYS,
    threshold: Annotated[int | None, typer.Option(min=1, help="How many have to sign.")] = None,
    add_member: Annotated[Names, typer.Option(metavar="NAME=KEY.pub")] = None,
    remove_member: Annotated[Names, typer.Option(metavar="NAME")] = None,
    add_log_key: Annotated[
        Names, typer.Option(metavar="VKEY", help="Good for the log at every size.")
    ] = None,
    retire_log_keys_at: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE", help="The log keys so far are good up to this size of the log only."
        ),
    ] = None,
    anchor: Annotated[
        str, typer.Option(metavar="SIZE:ROOT", help="The log goes on from this root hash, base64.")
    ] = "",
    freshness_key: Annotated[
        Names, typer.Option(metavar="VKEY", help="In place of those so far.")
    ] = None,
    authority: Annotated[
        list[Path] | None, typer.Option(metavar="CA.pem", help="In place of those so far.")
    ] = None,
    policy: Annotated[Names, typer.Option(metavar="NAME=VALUE")] = None,
) -> None:
    """Writes the next root, to be signed: as many of the old board as of the new have to.

    Without options it is the one that holds, issued anew: do that before it expires.
    """
    session: Session = context.obj
    keys = session.require_keys(session.settings())
    keys.renew()
    old = keys.chain.current
    now_s = int(time.time())
    try:
        new = replace(
            old,
            version=old.version + 1,
            previous=old.digest(),
            issued_s=now_s,
            expires_s=now_s + days * DAY,
            threshold=threshold or old.threshold,
            board=_board(old, add_member or [], remove_member or []),
            log_keys=_log_keys(old, add_log_key or [], retire_log_keys_at),
            anchors=_anchors(old, anchor),
            freshness_keys=tuple(map(CosignatureVerifier.from_vkey, freshness_key or []))
            or old.freshness_keys,
            authorities=tuple(map(_digest, authority or [])) or old.authorities,
            policies=_policies(old, policy or []),
        )
    except MalformedError as error:
        raise Problem("board", str(error)) from error
    write_new(file, new.text().encode())
    session.output.note(new.text())


def _board(old: Root, added: Sequence[str], removed: Sequence[str]) -> tuple[BoardMember, ...]:
    unknown = set(removed) - {member.name for member in old.board}
    if unknown:
        raise Problem("board", f"no member is named {', '.join(sorted(unknown))}", "remove_member")
    kept = [member for member in old.board if member.name not in removed]
    for each in added:
        name, _, path = each.partition("=")
        kept.append(BoardMember(name, read_public_key(Path(path))))
    return tuple(kept)


def _log_keys(old: Root, added: Sequence[str], retired_at: int | None) -> tuple[LogKey, ...]:
    kept = list(old.log_keys)
    if retired_at is not None:
        kept = [
            replace(key, last=retired_at if key.last is None else min(key.last, retired_at))
            for key in kept
            if key.first <= retired_at
        ]
    # From the first entry on: the old batches are signed again by the key that is at hand.
    return (*kept, *(LogKey(Verifier.from_vkey(vkey)) for vkey in added))


def _anchors(old: Root, text: str) -> tuple[Anchor, ...]:
    if not text:
        return old.anchors
    size, _, root = text.partition(":")
    new = Anchor(parse_number(size), decode_base64(root))
    kept = [anchor for anchor in old.anchors if anchor.size != new.size]
    return tuple(sorted([*kept, new], key=lambda anchor: anchor.size))


def _digest(path: Path) -> bytes:
    try:
        certificate = x509.load_pem_x509_certificate(read_certificates(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no certificate: {error}") from error
    return certificate.fingerprint(SHA256())


def _policies(old: Root, changes: Sequence[str]) -> Policies:
    policies = old.policies
    for change in changes:
        name, _, value = change.partition("=")
        policies = policies.having(name, parse_number(value))
    return policies
