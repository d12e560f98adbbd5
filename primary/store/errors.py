"""What can go wrong with the database, told apart by who is at fault and what helps."""

from __future__ import annotations

from registry.errors import RegistryError


class StoreError(RegistryError):
    """Base of the database's errors."""


class StoreUnavailableError(StoreError):
    """The database could not do it now; trying again may help.

    Raised out of a commit, the change may or may not have happened: only a repetition under
    its idempotency key tells.
    """


class FencedError(StoreError):
    """Another primary writes this database: fatal, this process has to stop."""


class SchemaError(StoreError):
    """The database and this program do not fit together; a person has to act first."""
