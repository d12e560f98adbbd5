"""A primary and a mirror in memory, behind real gRPC and TLS, with failures to inject.

The primary keeps the contract of `registration.proto` for one person at a time: identifiers,
management keys, versions, receipts that never change, outcomes in the order of the requests.
It signs nothing unless a log is given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import grpc

from node.tls import SERVER_OPTIONS, server_credentials
from primary.pki import Authority, Names
from primary.services import conversion
from registry.address import Address
from registry.contact import ContactValue, commit
from registry.errors import Problem
from registry.holder import Holder
from registry.kinds import Status
from registry.names import is_within, parse_domain, parse_host
from registry.registration import Registration
from registry.wire.v1 import (
    mirror_pb2,
    mirror_pb2_grpc,
    registering_pb2,
    registration_pb2,
    registration_pb2_grpc,
    replication_pb2,
)

NOW_MS = 1_795_456_000_000
STATUSES = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "exists": grpc.StatusCode.ALREADY_EXISTS,
    "not_yours": grpc.StatusCode.PERMISSION_DENIED,
}


@dataclass
class FakeRegistry(registration_pb2_grpc.RegistryServicer):
    """The primary's registration service.

    `failures` is how many calls from now on end with UNAVAILABLE, after the change is made if
    `loses_answers`; `break_stream_after` ends each Submit stream after so many chunks.
    """

    failures: int = 0
    loses_answers: bool = False
    break_stream_after: int | None = None
    on_chunk: Callable[[int], object] = lambda _rows: None
    size: int = 0
    checkpoint: bytes = b""
    holders: dict[bytes, tuple[bytes, tuple[ContactValue, ...], int]] = field(default_factory=dict)
    registrations: dict[str, tuple[int, Registration]] = field(default_factory=dict)
    receipts: dict[bytes, int] = field(default_factory=dict)
    chunks: list[int] = field(default_factory=list)
    days: list[registration_pb2.Day] = field(default_factory=list)

    def CreateHolder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._create_holder)

    def UpdateHolder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._update_holder)

    def WithdrawHolder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._withdraw_holder)

    def Register(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._register)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._update)

    def Withdraw(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._change(request, context, self._withdraw)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fail(context)
        try:
            address = str(Address.parse(request.address))
            if address not in self.registrations:
                raise Problem("not_found", f"{address} is not registered", "address")
        except Problem as problem:
            _abort(context, problem)
        return self._view(address)

    def GetHolder(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.holder_id not in self.holders:
            _abort(context, Problem("not_found", "no such holder", "holder_id"))
        return self._holder_view(request.holder_id)

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = [
            address
            for address, (_, registration) in sorted(self.registrations.items())
            if request.holder_id in (b"", registration.holder_id) and address > request.page_token
        ]
        page = found[: request.page_size or 100]
        return registration_pb2.ListResponse(
            registrations=[self._view(address) for address in page],
            next_page_token=page[-1] if len(page) < len(found) else "",
        )

    def ListHolders(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = [key for key in sorted(self.holders) if key.hex() > request.page_token]
        page = found[: request.page_size or 100]
        return registration_pb2.ListHoldersResponse(
            holders=[self._holder_view(holder_id) for holder_id in page],
            next_page_token=page[-1].hex() if len(page) < len(found) else "",
        )

    def GetStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._fail(context)
        return registration_pb2.Statistics(
            log_size=self.size,
            registrations=len(self.registrations),
            holders=len(self.holders),
            zone_serial=self.size,
            last_change_ms=NOW_MS,
            checkpoint=self.checkpoint,
            days=self.days if request.history else [],
        )

    def Submit(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for number, request in enumerate(request_iterator):
            if number == self.break_stream_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            self._fail(context)
            self.on_chunk(len(request.changes))
            self.chunks.append(len(request.changes))
            yield registration_pb2.SubmitResponse(
                outcomes=[self._outcome(change) for change in request.changes],
                checkpoint=self.checkpoint,
            )

    def _outcome(self, change: Any) -> Any:
        act = {"register": self._register, "update": self._update}
        name = change.WhichOneof("change")
        try:
            return registration_pb2.Outcome(index=act[name](getattr(change, name)))
        except Problem as problem:
            return registration_pb2.Outcome(problem=_problem_message(problem))

    def _fail(self, context: Any) -> None:
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")

    def _change(self, request: Any, context: Any, act: Callable[[Any], int]) -> Any:
        if not self.loses_answers:
            self._fail(context)
        key = request.options.idempotency_key
        try:
            if key not in self.receipts:
                self.receipts[key] = act(request)
        except Problem as problem:
            _abort(context, problem)
        self._fail(context)
        receipt = registration_pb2.Receipt(index=self.receipts[key], checkpoint=self.checkpoint)
        return registration_pb2.ChangeResponse(receipt=receipt)

    def _next(self) -> int:
        self.size += 2
        return self.size - 2

    def _create_holder(self, request: Any) -> int:
        change = conversion.create_holder(request)
        if change.holder_id in self.holders:
            raise Problem("exists", "this holder exists", "holder_id")
        version = self._next()
        self.holders[change.holder_id] = (change.management_key, change.contact, version)
        return version

    def _check_key(self, request: Any) -> None:
        if request.holder_id not in self.holders:
            raise Problem("not_found", "no such holder; create it first", "holder_id")
        if self.holders[request.holder_id][0] != request.management_key:
            raise Problem("not_yours", "not this holder's key", "management_key")

    def _update_holder(self, request: Any) -> int:
        change = conversion.update_holder(request)
        self._check_key(request)
        if change.expected_version not in (0, self.holders[change.holder_id][2]):
            raise Problem("version", "read it again, then decide", "expected_version")
        version = self._next()
        self.holders[change.holder_id] = (change.management_key, change.contact, version)
        return version

    def _withdraw_holder(self, request: Any) -> int:
        self._check_key(request)
        del self.holders[request.holder_id]
        return self._next()

    def _register(self, request: Any) -> int:
        self._check_key(request)
        address, host, domain = _names(request)
        if address in self.registrations:
            version, current = self.registrations[address]
            if current.holder_id != request.holder_id:
                raise Problem("exists", "is registered by another holder", "address")
            if (current.host, current.domain) != (host, domain):
                raise Problem("exists", "is registered with other names; update it", "address")
            return version
        version = self._next()
        registration = Registration(request.holder_id, host, domain, Status.NEW, NOW_MS)
        self.registrations[address] = (version, registration)
        return version

    def _own(self, request: Any) -> str:
        address = str(Address.parse(request.address))
        if address not in self.registrations:
            raise Problem("not_found", f"{address} is not registered", "address")
        self._check_key(request)
        if self.registrations[address][1].holder_id != request.holder_id:
            raise Problem("not_yours", "is registered by another holder", "holder_id")
        return address

    def _update(self, request: Any) -> int:
        address = self._own(request)
        _, host, domain = _names(request)
        version = self._next()
        registration = Registration(request.holder_id, host, domain, Status.NEW, NOW_MS)
        self.registrations[address] = (version, registration)
        return version

    def _withdraw(self, request: Any) -> int:
        del self.registrations[self._own(request)]
        return self._next()

    def _view(self, address: str) -> Any:
        version, registration = self.registrations[address]
        return registration_pb2.RegistrationView(
            address=address,
            registration=registration.to_message(),
            version=version,
            updated_ms=NOW_MS,
        )

    def _holder_view(self, holder_id: bytes) -> Any:
        _, contact, version = self.holders[holder_id]
        committed = [(value, *commit(value, bytes(32))) for value in contact]
        holder = Holder(Status.NEW, NOW_MS, tuple(commitment for _, commitment, _ in committed))
        return registration_pb2.HolderView(
            holder_id=holder_id,
            holder=holder.to_message(),
            version=version,
            updated_ms=NOW_MS,
            contact=[opening.to_message() for value, _, opening in committed if value.public],
        )


@dataclass
class FakeMirror(mirror_pb2_grpc.MirrorServicer):
    """A mirror that answers what it is told to."""

    prove: Callable[[int, bytes], mirror_pb2.ProveResponse]
    roots: list[bytes] = field(default_factory=list)
    status: mirror_pb2.MirrorStatus = field(default_factory=mirror_pb2.MirrorStatus)

    def GetRoots(self, request: Any, context: Any) -> Any:  # noqa: N802
        return replication_pb2.GetRootsResponse(roots=self.roots)

    def Prove(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.prove(request.kind, request.key)

    def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.status


@dataclass(frozen=True)
class Served:
    """Where it listens, and the certificate to trust."""

    address: str
    ca: Path


@contextmanager
def serve(
    directory: Path, registry: FakeRegistry | None = None, mirror: FakeMirror | None = None
) -> Iterator[Served]:
    """Serves both over TLS on one free loopback port."""
    authority = Authority.create("test", datetime.now(UTC))
    identity = authority.issue_server(Names.parse(["localhost"], ["127.0.0.1"]), datetime.now(UTC))
    ca = directory / "ca.pem"
    ca.write_bytes(authority.identity.certificate)
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=SERVER_OPTIONS)
        if registry is not None:
            registration_pb2_grpc.add_RegistryServicer_to_server(registry, server)
            server.add_generic_rpc_handlers([_no_proofs()])
        if mirror is not None:
            mirror_pb2_grpc.add_MirrorServicer_to_server(mirror, server)
        port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
        server.start()
        try:
            yield Served(f"127.0.0.1:{port}", ca)
        finally:
            server.stop(None).wait()


def _no_proofs() -> grpc.GenericRpcHandler:
    """A registry that asks for no proofs."""
    method = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: registering_pb2.Terms(proofs=False),
        registering_pb2.GetTermsRequest.FromString,
        registering_pb2.Terms.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("smtpnic.v1.Registering", {"GetTerms": method})


def _names(request: Any) -> tuple[str, str, str]:
    address = str(Address.parse(request.address))
    host, domain = parse_host(request.host, "host"), parse_domain(request.domain, "domain")
    if not is_within(host, domain):
        raise Problem("domain", f"{host} is not within {domain}", "domain")
    return address, host, domain


def _problem_message(problem: Problem) -> registration_pb2.Problem:
    return registration_pb2.Problem(code=problem.code, field=problem.field, message=problem.message)


def _abort(context: Any, problem: Problem) -> NoReturn:
    context.set_trailing_metadata(
        (("smtpnic-problem-bin", _problem_message(problem).SerializeToString()),)
    )
    context.abort(STATUSES.get(problem.code, grpc.StatusCode.INVALID_ARGUMENT), str(problem))
    raise AssertionError("abort raises")
