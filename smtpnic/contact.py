"""A holder's contact, put together from what a person gives and what the registry shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from node.errors import ConfigurationError
from registry.contact import ContactValue
from registry.kinds import ContactField
from smtpnic.views import HolderView


class FieldName(StrEnum):
    """A contact field, as options and output spell it."""

    NAME = "name"
    POSTAL_ADDRESS = "postal-address"
    EMAIL = "email"
    TELEPHONE = "telephone"

    @property
    def field(self) -> ContactField:
        """The field itself."""
        return ContactField[self.name]

    @classmethod
    def of(cls, field: ContactField) -> FieldName:
        """The name of a field."""
        return cls[field.name]


@dataclass(frozen=True, slots=True)
class ContactOptions:
    """What a person asks for: values, and which fields to show, to hide, to erase."""

    values: Mapping[FieldName, str]
    public: Collection[FieldName] = ()
    private: Collection[FieldName] = ()
    erased: Collection[FieldName] = ()

    def __post_init__(self) -> None:
        for name in FieldName:
            asked = [name in self.public, name in self.private, name in self.erased]
            if sum(asked) > 1 or (name in self.erased and name in self.values):
                raise ConfigurationError(f"what to do with {name}? The options contradict")


def new_contact(options: ContactOptions) -> list[ContactValue]:
    """The contact of a new holder; private unless shown."""
    for name in options.public:
        if name not in options.values:
            raise ConfigurationError(f"--public {name}: there is no --{name} to show")
    return [
        ContactValue(name.field, value, name in options.public)
        for name, value in options.values.items()
    ]


def changed_contact(view: HolderView, options: ContactOptions) -> list[ContactValue]:
    """The whole contact after a change of a part.

    What is public is kept. A private value is only known to the primary, which keeps nothing
    that is left out: ConfigurationError unless it is given again, or erased in so many words.
    """
    shown = {FieldName.of(opening.field): opening.value for opening in view.contact}
    held = {FieldName.of(commitment.field) for commitment in view.holder.commitments}
    contact = []
    for name in FieldName:
        value = options.values.get(name, shown.get(name))
        if name in options.erased or (value is None and name not in held | set(options.public)):
            continue
        if value is None:
            raise ConfigurationError(
                f"the {name} is private, and an update replaces the whole contact: "
                f"give --{name} again, or --erase {name}"
            )
        is_public = name in options.public or (name in shown and name not in options.private)
        contact.append(ContactValue(name.field, value, is_public))
    return contact
