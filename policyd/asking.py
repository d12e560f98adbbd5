"""Asks a running policy service what Postfix would be told about a client."""

from __future__ import annotations

import socket
from typing import Final

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from policyd.settings import UNIX_PREFIX, PolicydSettings
from registry.address import Address
from registry.errors import Problem

# What the service may need beside its wait for DNS: a first question starts it, through systemd.
START_SECONDS: Final = 10.0
# One action is one line, of which Postfix takes 2048 bytes.
MAX_ANSWER_BYTES: Final = 4096
END: Final = b"\n\n"
ACTION: Final = "action="


def ask_service(settings: PolicydSettings, address: str, recipient: str) -> str:
    """The action for a client of this address, as the service at the first of `listen` gives it.

    ConfigurationError for what is no address, or where it serves no policy; ConnectionError or
    TimeoutError where nobody, or somebody else, answers there.
    """
    try:
        client = Address.parse(address)
    except Problem as problem:
        raise ConfigurationError(f"{address!r}: {problem.message}") from None
    if not settings.listen:
        raise ConfigurationError("listen is empty: there is no policy service to ask")
    listener = settings.listen[0]
    attributes = {
        "request": "smtpd_access_policy",
        "client_address": str(client),
        # A line each: nothing that a person types begins another.
        "recipient": "".join(recipient.splitlines()),
    }
    request = "".join(f"{name}={value}\n" for name, value in attributes.items()) + "\n"
    try:
        answer = _exchange(listener, request.encode(), START_SECONDS + settings.timeout_seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer from {listener}") from None
    except OSError as error:
        raise ConnectionError(f"{listener}: {error.strerror or error}") from error
    text = answer.removesuffix(END).decode("utf-8", "replace")
    if not answer.endswith(END) or not text.startswith(ACTION):
        raise ConnectionError(f"{listener}: what answers there is no policy service")
    return text.removeprefix(ACTION)


def _exchange(listener: str, request: bytes, seconds: float) -> bytes:
    with _connect(listener, seconds) as connection:
        connection.sendall(request)
        answer = b""
        while not answer.endswith(END) and len(answer) < MAX_ANSWER_BYTES:
            data = connection.recv(MAX_ANSWER_BYTES)
            if not data:
                break
            answer += data
        return answer


def _connect(listener: str, seconds: float) -> socket.socket:
    if not listener.startswith(UNIX_PREFIX):
        endpoint = Endpoint.parse(listener)
        return socket.create_connection((endpoint.host, endpoint.port), seconds)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    try:
        connection.connect(listener.removeprefix(UNIX_PREFIX))
    except OSError:
        connection.close()
        raise
    return connection
