"""Views as the plain values that are printed, or exported: one name for one thing everywhere."""

from __future__ import annotations

from typing import Final

from registry.checkpoint import CheckpointKeys, open_checkpoint
from registry.errors import ProofError
from registry.kinds import ContactField
from registry.registration import Registration
from smtpnic.contact import FieldName
from smtpnic.output import time_text
from smtpnic.views import HolderView, Receipt, RegistrationView

REGISTRATION_COLUMNS: Final = (
    "address",
    "host",
    "domain",
    "status",
    "registered",
    "updated",
    "holder",
    "version",
    "reason",
)


def registration_values(view: RegistrationView) -> dict[str, object]:
    """A registration, under REGISTRATION_COLUMNS."""
    return {
        "address": view.address,
        **registration_fields(view.registration),
        "updated": time_text(view.updated_ms),
        "holder": view.registration.holder_id.hex(),
        "version": view.version,
        "reason": view.registration.reason,
    }


def registration_fields(registration: Registration) -> dict[str, object]:
    return {
        "host": registration.host,
        "domain": registration.domain,
        "status": registration.status.name.lower(),
        "registered": time_text(registration.registered_ms),
    }


def holder_values(view: HolderView) -> dict[str, object]:
    """A holder: the public contact by value, the private fields by name."""
    public = {opening.field: opening.value for opening in view.contact}
    private = [
        str(FieldName.of(commitment.field))
        for commitment in view.holder.commitments
        if isinstance(commitment.field, ContactField) and commitment.field not in public
    ]
    return {
        "holder": view.holder_id.hex(),
        "status": view.holder.status.name.lower(),
        "created": time_text(view.holder.created_ms),
        "updated": time_text(view.updated_ms),
        "version": view.version,
        **{field.name.lower(): public.get(field, "") for field in ContactField},
        "private": private,
    }


def receipt_values(receipt: Receipt, verifier: CheckpointKeys | None) -> dict[str, object]:
    """A receipt, checked where the log's key is known.

    VerificationError if the checkpoint is not the log's, or does not cover the entry.
    """
    values: dict[str, object] = {"version": receipt.index}
    if verifier is not None:
        size = open_checkpoint(receipt.checkpoint, verifier).size
        if size <= receipt.index:
            raise ProofError(f"a receipt for entry {receipt.index} with a checkpoint of {size}")
        values["checkpoint_size"] = size
    values["checkpoint_verified"] = verifier is not None
    return {**values, "checkpoint": receipt.checkpoint.decode(errors="replace")}
