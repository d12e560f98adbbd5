"""smtpnic verify: a registration, proved by a mirror, checked with the log's key alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.address import Address
from registry.entry import state_key
from registry.errors import ProofError
from registry.kinds import Kind
from registry.proof import VerifiedLookup, verify_lookup
from registry.registration import Registration
from smtpnic.bundle import Bundle
from smtpnic.commands.arguments import AddressArgument
from smtpnic.errors import UnreachableError
from smtpnic.output import time_text
from smtpnic.presentation import registration_fields
from smtpnic.session import Session
from smtpnic.settings import Settings

Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="HOST:PORT",
        help="A secondary. May be repeated: the first that answers is taken.",
    ),
]
MinSize = Annotated[
    int, typer.Option(min=0, help="The least size of the log: after a receipt, its version + 1.")
]
Save = Annotated[Path | None, typer.Option(help="Keep the proof in this file.")]
From = Annotated[
    Path | None, typer.Option("--from", help="Check the proof in this file; ask no server.")
]


def verify(
    context: typer.Context,
    address: AddressArgument,
    *,
    mirror: Mirrors = None,
    min_size: MinSize = 0,
    save: Save = None,
    from_file: From = None,
) -> None:
    """Verify that an address is registered, or that it is not; the primary is not needed.

    Checks, by the board's root (--root), that the checkpoint is signed, that the record is in
    the log, and that it is the current one of the address at that checkpoint: a record that
    was superseded is rejected. How old the checkpoint is, is shown; --min-size refuses
    one that is too old.

    Exit code 0: registered; 1: proved not registered; 5: what the mirror gave is not what
    the registry signed.
    """
    session: Session = context.obj
    settings = session.settings(mirrors=mirror or None)
    verifier = session.require_keys(settings)
    parsed = Address.parse(address)
    bundle = _ask(session, settings, parsed) if from_file is None else Bundle.load(from_file)
    if bundle.address != parsed:
        raise ProofError(f"the proof is of {bundle.address}, not of {parsed}")
    verified = verify_lookup(bundle.lookup, verifier, state_key(Kind.REGISTRATION, parsed.packed))
    if verified.checkpoint.size < min_size:
        raise ProofError(
            f"the log had {verified.checkpoint.size} entries at this checkpoint, "
            f"fewer than {min_size}: ask a mirror that is further"
        )
    if save is not None:
        bundle.save(save)
    session.output.values(_values(bundle, verified))
    if verified.entry is None:
        raise typer.Exit(ExitCode.FAILED)


def _ask(session: Session, settings: Settings, address: Address) -> Bundle:
    if not settings.mirrors:
        raise ConfigurationError(
            "which mirror? Give --mirror HOST:PORT, set SMTPNIC_MIRRORS, or --from a saved proof"
        )
    failures = []
    for endpoint in settings.mirrors:
        try:
            return _ask_one(session, settings, endpoint, address)
        except UnreachableError as error:
            failures.append(str(error))
    raise UnreachableError("\n".join(failures))


def _ask_one(session: Session, settings: Settings, endpoint: Endpoint, address: Address) -> Bundle:
    with session.mirror(settings, endpoint) as mirror:
        return Bundle(address, str(endpoint), mirror.prove(Kind.REGISTRATION, address.packed))


def _values(bundle: Bundle, verified: VerifiedLookup) -> dict[str, object]:
    age_seconds = max(0, time.time() - verified.time_ms / 1000)
    record: dict[str, object] = {"finding": "not registered"}
    if verified.entry is not None and verified.record is not None:
        registration = Registration.decode(verified.entry.payload)
        record = {
            "finding": "registered",
            **registration_fields(registration),
            "updated": time_text(verified.entry.time_ms),
            "holder": registration.holder_id.hex(),
            "version": verified.record.index,
            "reason": registration.reason,
        }
    return {
        "address": str(bundle.address),
        **record,
        "size": verified.checkpoint.size,
        "zone_serial": verified.state.zone_serial,
        "checkpoint_time": time_text(verified.time_ms),
        "checkpoint_age_seconds": round(age_seconds),
        "mirror": bundle.mirror,
    }
