"""The words of the log: what an entry is about, what it does, and how a record stands.

The numbers are those of `proto/registry/wire/v1/log.proto`; a test holds the two together.
"""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What an entry is about. A log may hold other numbers: an entry's kind is a plain int."""

    HOLDER = 1
    REGISTRATION = 2
    MEMBER = 3
    ROOT = 4
    POLICY = 5
    DECISION = 6
    STATE = 7
    REMOVED_KEY = 8


class Operation(IntEnum):
    """What an entry does to its key."""

    PUT = 1
    DELETE = 2


class Status(IntEnum):
    """How a holder or a registration stands."""

    NEW = 1
    ACTIVE = 2
    LAPSED = 3
    SUSPENDED = 4


class MemberStatus(IntEnum):
    """How a mirror that the board has admitted stands."""

    ADMITTED = 1
    DRAINED = 2


class ContactField(IntEnum):
    """A part of a holder's contact."""

    NAME = 1
    POSTAL_ADDRESS = 2
    EMAIL = 3
    TELEPHONE = 4
