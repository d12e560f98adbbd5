"""Changes of every kind, one after another, until they are stopped."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from registry.wire.v1 import log_pb2, registration_pb2
from tests.support.registrant import RPC_SECONDS, Registrant, addresses

WRITERS = 3
# Between two changes of one writer, so that what is tested gets the processor.
PAUSE_SECONDS = 0.05
# What one request of a bulk stream may hold.
CHUNK = 600
# Every so many registrations: one goes again; the holder's public contact is another.
WITHDRAW_EVERY = 3
CONTACT_EVERY = 5


class Traffic:
    """Writers, each with a holder of its own; a context manager that ends them."""

    def __init__(self, connect: Callable[[], grpc.Channel], network: str) -> None:
        """`network` is the first octet of what they register."""
        self.failures: list[BaseException] = []
        self._connect = connect
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{network}.{number}",))
            for number in range(WRITERS)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == []

    def _run(self, prefix: str) -> None:
        try:
            with self._connect() as channel:
                self._write(Registrant(channel), prefix)
        except grpc.RpcError as error:
            self.failures.append(error)

    def _write(self, registrant: Registrant, prefix: str) -> None:
        registrant.create_holder()
        for number, address in enumerate(addresses(prefix)):
            if self._stopping.wait(PAUSE_SECONDS):
                return
            registrant.register(address)
            if number % WITHDRAW_EVERY == 0:
                registrant.withdraw(address)
            if number % CONTACT_EVERY == 0:
                change_contact(registrant, f"Mail Example {number}", is_public=number % 2 == 0)


def change_contact(registrant: Registrant, name: str, *, is_public: bool) -> None:
    """Gives the holder another name, and nothing else."""
    contact = registration_pb2.ContactValue(
        field=log_pb2.CONTACT_FIELD_NAME, value=name, public=is_public
    )
    request = registration_pb2.UpdateHolderRequest(
        holder_id=registrant.holder_id,
        management_key=registrant.management_key,
        contact=[contact, *_required_contact()],
    )
    registrant.stub.UpdateHolder(request, timeout=RPC_SECONDS)


def register_all(registrant: Registrant, chosen: Sequence[str]) -> None:
    """Registers many addresses over one stream; all must be taken."""
    requests = [
        registration_pb2.RegisterRequest(**_names(registrant, address, "mail.example.org"))
        for address in chosen
    ]
    _submit(registrant, [registration_pb2.Change(register=request) for request in requests])


def update_all(registrant: Registrant, chosen: Sequence[str], host: str) -> None:
    """Gives many registrations another host, over one stream; all must be taken."""
    requests = [
        registration_pb2.UpdateRequest(**_names(registrant, address, host)) for address in chosen
    ]
    _submit(registrant, [registration_pb2.Change(update=request) for request in requests])


def _names(registrant: Registrant, address: str, host: str) -> dict[str, Any]:
    return {
        "holder_id": registrant.holder_id,
        "management_key": registrant.management_key,
        "address": address,
        "host": host,
        "domain": "example.org",
    }


def _submit(registrant: Registrant, changes: Sequence[registration_pb2.Change]) -> None:
    requests = (
        registration_pb2.SubmitRequest(changes=changes[start : start + CHUNK])
        for start in range(0, len(changes), CHUNK)
    )
    responses = registrant.stub.Submit(requests, timeout=RPC_SECONDS * 6)
    outcomes = list(itertools.chain.from_iterable(response.outcomes for response in responses))
    refused = [outcome for outcome in outcomes if outcome.HasField("problem")]
    assert (len(outcomes), refused) == (len(changes), [])


def _required_contact() -> list[registration_pb2.ContactValue]:
    values = {
        log_pb2.CONTACT_FIELD_POSTAL_ADDRESS: "1 Example Street",
        log_pb2.CONTACT_FIELD_EMAIL: "postmaster@example.org",
        log_pb2.CONTACT_FIELD_TELEPHONE: "+12025550123",
    }
    return [
        registration_pb2.ContactValue(field=field, value=value, public=False)
        for field, value in values.items()
    ]
