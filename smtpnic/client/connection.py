"""A connection to a server: TLS, deadlines, trying again, and gRPC's errors translated once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import Final, Self, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from node.endpoint import Endpoint
from node.retry import Backoff
from node.tls import CHANNEL_OPTIONS, channel_credentials
from registry.errors import Problem, RegistryError
from registry.wire.v1 import registration_pb2
from smtpnic.errors import NotFoundError, UnreachableError

PROBLEM_METADATA: Final = "smtpnic-problem-bin"
MAX_RETRY_SECONDS: Final = 3.0

# The server is away, or says that too much waits already.
PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

# How gRPC's TLS failures read; their status is the one of a server that is away.
TLS_WORDS: Final = ("handshake", "CERTIFICATE", "Verification", "SSL")

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server.

    `authority` are the PEM certificates that its certificate must lead to, None for gRPC's
    own list; `server_name` is the name in it, empty for the endpoint's host; `through` is the
    target to connect to instead, which leads there.
    """

    endpoint: Endpoint
    authority: bytes | None
    server_name: str
    timeout_seconds: float
    attempts: int = 1
    random: Random = field(default_factory=Random, repr=False, compare=False)
    through: str = ""

    def open(self) -> grpc.Channel:
        """A channel; it connects at the first call."""
        if self.authority is None:
            credentials = grpc.ssl_channel_credentials()
        else:
            credentials = channel_credentials(self.authority)
        options: list[tuple[str, str | int]] = list(CHANNEL_OPTIONS)
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        return grpc.secure_channel(self.through or str(self.endpoint), credentials, options)

    def call(
        self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """The answer to one call, tried again while the server is away, up to the timeout.

        Only what may be done twice may be called this way: reads, and changes that carry an
        idempotency key. Raises what `translate` tells.
        """
        deadline = time.monotonic() + self.timeout_seconds
        backoff = Backoff(self.random, max_seconds=MAX_RETRY_SECONDS)
        for attempt in range(1, self.attempts + 1):
            try:
                return method(request, timeout=max(deadline - time.monotonic(), 0.001))
            except grpc.RpcError as raised:
                error = cast("grpc.Call", raised)
                delay = backoff.next_delay()
                is_last = attempt == self.attempts or time.monotonic() + delay >= deadline
                if is_last or not _may_pass(error):
                    raise self.translate(error) from None
                time.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def translate(self, error: grpc.Call) -> RegistryError:
        """gRPC's error as ours: Problem, NotFoundError, or UnreachableError with advice."""
        problem = _problem_of(error)
        if problem is not None and error.code() is grpc.StatusCode.NOT_FOUND:
            return NotFoundError(problem.code, problem.message, problem.field)
        if problem is not None:
            return problem
        return UnreachableError(
            f"{self.endpoint}: {self._advice(error)}", may_pass=_may_pass(error)
        )

    def _advice(self, error: grpc.Call) -> str:
        # gRPC names the general case before the one at hand.
        details = (error.details() or "").rpartition("last error: ")[2]
        match error.code():
            case grpc.StatusCode.UNAVAILABLE if _is_about_tls(details):
                return (
                    f"its certificate is not accepted ({details}): check --ca, and give "
                    "--server-name where the certificate bears another name"
                )
            case grpc.StatusCode.UNAVAILABLE:
                return f"cannot be reached ({details}): check the address, and that it runs"
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return f"is busy ({details}): try again in a moment"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return (
                    f"no answer within {self.timeout_seconds:g} s: try again, or give a longer "
                    "--timeout"
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return "does not offer this: check that it is the right kind of server and port"
            case code:
                return f"failed to answer ({code.name}: {details}): its log tells more"


def _is_about_tls(details: str) -> bool:
    return any(word in details for word in TLS_WORDS)


def _may_pass(error: grpc.Call) -> bool:
    away = error.code() in PASSING
    return away and _problem_of(error) is None and not _is_about_tls(error.details() or "")


def _problem_of(error: grpc.Call) -> Problem | None:
    for key, value in error.trailing_metadata() or ():
        if key == PROBLEM_METADATA and isinstance(value, bytes):
            try:
                return problem_from(registration_pb2.Problem.FromString(value))
            except DecodeError:
                return None
    return None


def problem_from(message: registration_pb2.Problem) -> Problem:
    """The problem in a wire message."""
    return Problem(message.code, message.message, message.field)


class Server:
    """A server that is connected to, from `with` until its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
