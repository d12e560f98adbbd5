"""The primary is found by its authority's fingerprint, and nobody else is told anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import pytest

from node.endpoint import Endpoint
from node.tls import Identity
from primary.pki import Authority, Names, authority_digest
from secondary.services.authority_finder import ImpostorError, find_authority

NOW = datetime.now(UTC)
NAMES = Names.parse([], ["127.0.0.1"])
AUTHORITY, OTHER = (Authority.create("example.org", NOW) for _ in range(2))
CERTIFICATE = AUTHORITY.identity.certificate
FINGERPRINT = authority_digest(CERTIFICATE)


@contextmanager
def serving(identity: Identity, *chain: bytes) -> Iterator[Endpoint]:
    """A gRPC server with this certificate, and what it shows beside it."""
    shown = b"".join([identity.certificate, *chain])
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        credentials = grpc.ssl_server_credentials([(identity.key, shown)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield Endpoint("127.0.0.1", port)
        finally:
            server.stop(None).wait()


def test_the_authority_is_found_by_its_fingerprint() -> None:
    """Among what a primary shows, as it is in its file."""
    with serving(AUTHORITY.issue_server(NAMES, NOW), CERTIFICATE) as primary:
        assert CERTIFICATE == find_authority(primary, FINGERPRINT)


def test_another_registry_is_an_impostor() -> None:
    """Its own authority has another fingerprint."""
    chain = OTHER.identity.certificate
    with (
        serving(OTHER.issue_server(NAMES, NOW), chain) as impostor,
        pytest.raises(ImpostorError, match="is not the primary that the token was made at"),
    ):
        find_authority(impostor, FINGERPRINT)


def test_who_shows_the_right_authority_has_to_be_certified_by_it() -> None:
    """Its certificate is public: anyone may show it beside their own."""
    with (
        serving(OTHER.issue_server(NAMES, NOW), CERTIFICATE) as impostor,
        pytest.raises(ImpostorError, match="somebody stands in between"),
    ):
        find_authority(impostor, FINGERPRINT)


def test_who_does_not_speak_tls_is_no_primary() -> None:
    """Nobody there, and somebody with another protocol: said, and no fault of the program."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = Endpoint(*other.getsockname())

        def greet() -> None:
            with other.accept()[0] as connection:
                connection.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ConnectionError, match="no primary answers"):
            find_authority(endpoint, FINGERPRINT)
        thread.join()
    with pytest.raises(ConnectionError, match="refused"):
        find_authority(endpoint, FINGERPRINT)
