"""The primary's registration service."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import grpc

from registry.contact import ContactValue, Opening
from registry.holder import Holder
from registry.registration import Registration
from registry.statistics import Age, Day, Totals
from registry.wire.v1 import log_pb2, registration_pb2, registration_pb2_grpc
from smtpnic.client.connection import Connection, Server
from smtpnic.client.submit import SubmitStream
from smtpnic.holder_key import HolderKey
from smtpnic.views import History, HolderView, Page, Receipt, RegistrationView, Statistics

IDEMPOTENCY_KEY_BYTES: Final = 16

ChangeRequest = TypeVar(
    "ChangeRequest",
    registration_pb2.CreateHolderRequest,
    registration_pb2.UpdateHolderRequest,
    registration_pb2.WithdrawHolderRequest,
    registration_pb2.RegisterRequest,
    registration_pb2.UpdateRequest,
    registration_pb2.WithdrawRequest,
)


class Primary(Server):
    """The primary's registration service."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stub = registration_pb2_grpc.RegistryStub(self._channel)

    def create_holder(self, key: HolderKey, contact: Iterable[ContactValue]) -> Receipt:
        """Creates the holder; the same key and contact again give the same receipt."""
        request = registration_pb2.CreateHolderRequest(
            options=_options(), contact=contact_messages(contact)
        )
        return self._change(self._stub.CreateHolder, request, key)

    def update_holder(
        self, key: HolderKey, contact: Iterable[ContactValue], expected_version: int
    ) -> Receipt:
        """Replaces the whole contact; a Problem if the holder is at another version by now."""
        request = registration_pb2.UpdateHolderRequest(
            options=_options(expected_version), contact=contact_messages(contact)
        )
        return self._change(self._stub.UpdateHolder, request, key)

    def withdraw_holder(self, key: HolderKey) -> Receipt:
        """Withdraws a holder that has no registrations left."""
        request = registration_pb2.WithdrawHolderRequest(options=_options())
        return self._change(self._stub.WithdrawHolder, request, key)

    def register(self, key: HolderKey, address: str, host: str, domain: str) -> Receipt:
        """Registers a mail server."""
        request = registration_pb2.RegisterRequest(
            options=_options(), address=address, host=host, domain=domain
        )
        return self._change(self._stub.Register, request, key)

    def update(
        self, key: HolderKey, address: str, host: str, domain: str, expected_version: int
    ) -> Receipt:
        """Changes a registration; a Problem if it is at another version by now (0: any)."""
        request = registration_pb2.UpdateRequest(
            options=_options(expected_version), address=address, host=host, domain=domain
        )
        return self._change(self._stub.Update, request, key)

    def withdraw(self, key: HolderKey, address: str) -> Receipt:
        """Withdraws a registration."""
        request = registration_pb2.WithdrawRequest(options=_options(), address=address)
        return self._change(self._stub.Withdraw, request, key)

    def _change(
        self,
        method: grpc.UnaryUnaryMultiCallable[ChangeRequest, registration_pb2.ChangeResponse],
        request: ChangeRequest,
        key: HolderKey,
    ) -> Receipt:
        request.holder_id = key.holder_id
        request.management_key = key.management_key
        message = self._connection.call(method, request)
        return Receipt(message.receipt.index, message.receipt.checkpoint)

    def get(self, address: str) -> RegistrationView:
        """A registration; NotFoundError if there is none."""
        request = registration_pb2.GetRequest(address=address)
        return _registration(self._connection.call(self._stub.Get, request))

    def get_holder(self, holder_id: bytes) -> HolderView:
        """A holder; NotFoundError if there is none."""
        request = registration_pb2.GetHolderRequest(holder_id=holder_id)
        return _holder(self._connection.call(self._stub.GetHolder, request))

    def registrations(
        self, page_size: int, page_token: str = "", holder_id: bytes = b""
    ) -> Page[RegistrationView]:
        """A page of the registrations, of one holder if one is given."""
        request = registration_pb2.ListRequest(
            page_size=page_size, page_token=page_token, holder_id=holder_id
        )
        found = self._connection.call(self._stub.List, request)
        return Page(tuple(map(_registration, found.registrations)), found.next_page_token)

    def holders(self, page_size: int, page_token: str = "") -> Page[HolderView]:
        """A page of the holders."""
        request = registration_pb2.ListHoldersRequest(page_size=page_size, page_token=page_token)
        found = self._connection.call(self._stub.ListHolders, request)
        return Page(tuple(map(_holder, found.holders)), found.next_page_token)

    def statistics(self) -> Statistics:
        """What the primary counts."""
        request = registration_pb2.GetStatisticsRequest()
        return _statistics(self._connection.call(self._stub.GetStatistics, request))

    def history(self) -> History:
        """What the primary counts, and has counted day by day."""
        request = registration_pb2.GetStatisticsRequest(history=True)
        found = self._connection.call(self._stub.GetStatistics, request)
        return History(
            _statistics(found),
            _totals(found.ipv4),
            _totals(found.ipv6),
            found.domains,
            tuple(Age(age.below_days or None, age.registrations) for age in found.ages),
            tuple(map(_day, found.days)),
        )

    def submit(self, key: HolderKey) -> SubmitStream:
        """A stream for many changes of one holder."""
        return SubmitStream(self._connection, self._stub.Submit, key)


def _statistics(message: registration_pb2.Statistics) -> Statistics:
    return Statistics(**{name: getattr(message, name) for name in Statistics.__dataclass_fields__})


def _totals(message: registration_pb2.Totals) -> Totals:
    return Totals(message.new, message.active, message.lapsed, message.suspended)


def _day(message: registration_pb2.Day) -> Day:
    return Day(
        message.day,
        message.registered,
        message.withdrawn,
        message.activated,
        message.lapsed,
        message.suspended,
        _totals(message.ipv4),
        _totals(message.ipv6),
        message.domains,
    )


def _options(expected_version: int = 0) -> registration_pb2.ChangeOptions:
    return registration_pb2.ChangeOptions(
        idempotency_key=secrets.token_bytes(IDEMPOTENCY_KEY_BYTES),
        expected_version=expected_version,
    )


def contact_messages(values: Iterable[ContactValue]) -> Iterator[registration_pb2.ContactValue]:
    """The contact for the wire."""
    for value in values:
        yield registration_pb2.ContactValue(
            field=log_pb2.ContactField.ValueType(value.field),
            value=value.value,
            public=value.public,
        )


def _registration(message: registration_pb2.RegistrationView) -> RegistrationView:
    return RegistrationView(
        message.address,
        Registration.from_message(message.registration),
        message.version,
        message.updated_ms,
    )


def _holder(message: registration_pb2.HolderView) -> HolderView:
    return HolderView(
        message.holder_id,
        Holder.from_message(message.holder),
        message.version,
        message.updated_ms,
        tuple(Opening.from_message(opening) for opening in message.contact),
    )
