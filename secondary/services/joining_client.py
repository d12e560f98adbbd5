"""The client of Joining: hands over the token and what is asked with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import grpc

from node.endpoint import Endpoint
from node.identity_files import IdentityFiles
from node.tls import CHANNEL_OPTIONS, channel_credentials
from registry.errors import Problem
from registry.wire.v1 import joining_pb2 as pb
from registry.wire.v1.joining_pb2_grpc import JoiningStub
from secondary.upstream import UpstreamRefused, UpstreamUnavailable

JOIN_SECONDS: Final = 30.0

_REFUSALS: Final = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a node asks for: see `JoinRequest` in joining.proto."""

    secret: bytes
    name: str
    names: tuple[str, ...]
    certificate_request: bytes
    cosigner: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What it was given, and nothing of it is checked yet."""

    certificate: bytes
    root: bytes
    name: str
    names: tuple[str, ...]
    upstream: str
    role: str


class LateRenewer:
    """Renews a certificate that has ended, at the primary's public listener."""

    def __init__(self, server: Endpoint, name: str, files: IdentityFiles) -> None:
        self._server = server
        self._name = name
        self._files = files

    def renew_certificate(self, certificate_request: bytes) -> bytes:
        """A certificate (PEM) for this node's key; UpstreamUnavailable, UpstreamRefused."""
        request = pb.RenewEndedRequest(name=self._name, certificate_request=certificate_request)
        try:
            with _stub(self._server, self._files.look().authority) as stub:
                return stub.RenewEnded(request, timeout=JOIN_SECONDS).certificate
        except Problem as problem:
            raise UpstreamRefused(problem.message) from None
        except ConnectionError as error:
            raise UpstreamUnavailable(str(error)) from None


def ask_to_join(server: Endpoint, authority: bytes, request: Request) -> Answer:
    """The primary's answer; Problem, in its words, when it refuses; ConnectionError."""
    message = pb.JoinRequest(
        secret=request.secret,
        name=request.name,
        names=request.names,
        certificate_request=request.certificate_request,
        cosigner=request.cosigner,
    )
    with _stub(server, authority) as stub:
        found = stub.Join(message, timeout=JOIN_SECONDS)
    return Answer(
        found.certificate, found.root, found.name, tuple(found.names), found.upstream, found.role
    )


@contextmanager
def _stub(server: Endpoint, authority: bytes) -> Iterator[JoiningStub]:
    credentials = channel_credentials(authority)
    with grpc.secure_channel(str(server), credentials, options=list(CHANNEL_OPTIONS)) as channel:
        try:
            yield JoiningStub(channel)
        except grpc.RpcError as error:
            _fail(server, error)


def _fail(server: Endpoint, error: grpc.RpcError) -> NoReturn:
    # What calls raise is also a grpc.Call, which the types of grpc do not say.
    code, text = error.code(), f"{error.details()}"
    if code in _REFUSALS:
        raise Problem("join", text) from error
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise ConnectionError(f"{server} takes nobody in: it may run an older program") from error
    raise ConnectionError(f"{server} did not answer: {text}") from error
