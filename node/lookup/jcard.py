"""A holder's contact as jCard (RFC 7095), and what was left out of it, by RFC 9537."""

from __future__ import annotations

from typing import Any, Final

from node.lookup.directory import HolderListing
from node.lookup.whois import needs_relay
from node.printable import printable
from registry.kinds import ContactField
from registry.relaying import relay_address

Json = dict[str, Any]

_NAMES: Final = {
    ContactField.NAME: "Registrant Name",
    ContactField.POSTAL_ADDRESS: "Registrant Postal Address",
    ContactField.EMAIL: "Registrant Email",
    ContactField.TELEPHONE: "Registrant Phone",
}
_PROPERTIES: Final = {
    ContactField.NAME: "fn",
    ContactField.POSTAL_ADDRESS: "adr",
    ContactField.EMAIL: "email",
    ContactField.TELEPHONE: "tel",
}
_REASON: Final = "The holder keeps it private; the log commits to it without showing it."


def jcard(holder: HolderListing, origin: str) -> list[Any]:
    """The public contact. RFC 6350, 6.2.1: there is a name always, if an empty one."""
    values = {opening.field: printable(opening.value) for opening in holder.contact}
    card: list[Any] = [
        ["version", {}, "text", "4.0"],
        ["fn", {}, "text", values.get(ContactField.NAME, "")],
    ]
    postal = values.get(ContactField.POSTAL_ADDRESS)
    if postal is not None:
        # Not taken to pieces: addresses of the world have no parts in common (RFC 9083, 3).
        card.append(["adr", {"label": postal}, "text", [""] * 7])
    telephone = values.get(ContactField.TELEPHONE)
    if telephone is not None:
        card.append(["tel", {"type": "voice"}, "uri", f"tel:{_dialled(telephone)}"])
    email = values.get(ContactField.EMAIL)
    if email is None and needs_relay(holder):
        email = relay_address(holder.holder_id, origin)
    if email is not None:
        card.append(["email", {}, "text", email])
    return ["vcard", card]


def redacted(holder: HolderListing, entity: str) -> list[Json]:
    """What the holder gave and nobody is shown; `entity` is the JSONPath of the entity."""
    public = {opening.field for opening in holder.contact}
    return [
        _redaction(commitment.field, entity, is_relayed=needs_relay(holder))
        for commitment in holder.holder.commitments
        if isinstance(commitment.field, ContactField) and commitment.field not in public
    ]


def _redaction(field: ContactField, entity: str, *, is_relayed: bool) -> Json:
    path = f"{entity}.vcardArray[1][?(@[0]=='{_PROPERTIES[field]}')]"
    found: Json = {
        "name": {"description": _NAMES[field]},
        "reason": {"description": _REASON},
        "pathLang": "jsonpath",
    }
    if field is ContactField.NAME:
        return {**found, "method": "emptyValue", "postPath": f"{path}[3]"}
    if field is ContactField.EMAIL and is_relayed:
        return {**found, "method": "replacementValue", "postPath": path}
    return {**found, "method": "removal", "prePath": path}


def _dialled(telephone: str) -> str:
    """Without what people write between digits (RFC 3966, 5.1.1)."""
    return "+" + "".join(character for character in telephone if character.isdigit())
