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
    """What a person asks for: values, and which fields to show and to hide."""

    values: Mapping[FieldName, str]
    public: Collection[FieldName] = ()
    private: Collection[FieldName] = ()

    def __post_init__(self) -> None:
        for name in FieldName:
            if name in self.public and name in self.private:
                raise ConfigurationError(f"what to do with {name}? The options contradict")


def contact_given(
    name: str | None, postal_address: str | None, email: str | None, telephone: str | None
) -> dict[FieldName, str]:
    """The fields that were given."""
    values = (name, postal_address, email, telephone)
    return {
        field: value for field, value in zip(FieldName, values, strict=True) if value is not None
    }


def new_contact(options: ContactOptions) -> list[ContactValue]:
    """The contact of a new holder; private unless shown."""
    return [
        ContactValue(name.field, value, name in options.public)
        for name, value in options.values.items()
    ]


def changed_contact(view: HolderView, options: ContactOptions) -> list[ContactValue]:
    """The whole contact after a change of a part.

    What is public is kept. A private value is only known to the primary, which tells it nobody:
    ConfigurationError, naming all that have to be given, unless it is given again.
    """
    shown = {
        FieldName.of(opening.field): opening.value
        for opening in view.contact
        if isinstance(opening.field, ContactField)
    }
    values = {**shown, **options.values}
    missing = [f"--{name}" for name in FieldName if name not in values]
    if missing:
        raise ConfigurationError(
            "an update replaces the whole contact, and the registry tells nobody what is "
            f"private: give {', '.join(missing)} too"
        )
    return [
        ContactValue(
            name.field,
            values[name],
            name in options.public or (name in shown and name not in options.private),
        )
        for name in FieldName
    ]
