"""Joins a registry with a token: keys made here, a certificate for them, settings to start with.

Whatever stops it half way, the same command goes on with the same keys: the primary then answers
again. The settings are written last, so that nothing starts before all of it is there.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate

from node.certificates import make_key, make_request, public_digest, show
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.failpoints import failpoint
from node.files import read_private, write_atomic
from node.mirror_settings import (
    AUTHORITY_NAME,
    CERTIFICATE_NAME,
    KEY_NAME,
    ROOT_NAME,
    SETTINGS_NAME,
    MirrorPlan,
    Ports,
    mirror_settings,
    private_address,
)
from node.scaffold import PUBLIC_MODE, make_empty
from registry.errors import MalformedError, Problem, SignatureError, VerificationError
from registry.join_token import JoinToken
from registry.node_name import check_node_name
from registry.root_chain import RootChain
from secondary.cosigner import KEY_NAME as COSIGNER_KEY_NAME
from secondary.cosigner import NOTE_NAME as COSIGNER_NOTE_NAME
from secondary.cosigner import MirrorCosigner
from secondary.services.authority_finder import find_authority
from secondary.services.joining_client import Answer, Request, ask_to_join
from secondary.settings import SecondarySettings

# There while a directory has not joined yet: it says with which token and under which name.
MARKER_NAME: Final = "joining.json"
DATA_NAME: Final = "data"
# The role of nodes that do not vouch (docs/operations.md).
READER: Final = "reader"
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - what an operator means by everywhere


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator chose; empty: what the token says, or what fits.

    `names` are addresses and host names for the certificate, `listen` where services listen,
    `http` where metrics do.
    """

    name: str = ""
    names: tuple[str, ...] = ()
    listen: str = ""
    http: str = ""
    ports: Ports = field(default_factory=Ports)
    zone: str = ""
    etcd: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the parts of a mirror are kept."""

    authority: Path
    certificate: Path
    key: Path
    data: Path


def parse_token(text: str) -> JoinToken:
    """The token that was pasted; ConfigurationError if it is none."""
    try:
        return JoinToken.parse(text)
    except MalformedError as error:
        raise ConfigurationError(str(error)) from None


def join(token: JoinToken, directory: Path, wish: Wish) -> Path:
    """Makes a mirror's directory; the path of its settings.

    ConfigurationError: the directory holds something else, or a name is missing. Problem: the
    primary refuses. VerificationError: it is not the primary that the token was made at, or what
    it gave does not fit. ConnectionError: it does not answer.
    """
    name = _name(token, wish)
    _begin(directory, token, name)
    place = _Place(
        directory / AUTHORITY_NAME,
        directory / CERTIFICATE_NAME,
        directory / KEY_NAME,
        directory / DATA_NAME,
    )
    authority, answer = _ask(token, place.key, place.data, wish, name)
    write_atomic(place.authority, authority, PUBLIC_MODE)
    write_atomic(directory / ROOT_NAME, answer.root, PUBLIC_MODE)
    write_atomic(place.certificate, answer.certificate, PUBLIC_MODE)
    failpoint("join.before_settings")
    path = directory / SETTINGS_NAME
    write_atomic(path, mirror_settings(_plan(token, answer, wish)), PUBLIC_MODE)
    (directory / MARKER_NAME).unlink()
    return path


def join_again(token: JoinToken, config: Path, wish: Wish) -> None:
    """Gives a mirror that was removed, or whose certificate ended, a new key and certificate.

    Its data and settings stay; one that runs takes them up by itself. Errors as of `join`.
    """
    settings = SecondarySettings.load(config)
    name = _name(token, Wish(wish.name or settings.name))
    if name != settings.name:
        raise ConfigurationError(f"the token is for {name}, and this mirror is {settings.name}")
    tls = settings.tls
    fresh = tls.key.with_name(f"{tls.key.name}.next")
    authority, answer = _ask(token, fresh, settings.data_dir, wish, name)
    write_atomic(tls.ca, authority, PUBLIC_MODE)
    # A crash between these is mended by asking again: the new key is still there.
    write_atomic(tls.certificate, answer.certificate, PUBLIC_MODE)
    write_atomic(tls.key, read_private(fresh))
    fresh.unlink()


def _name(token: JoinToken, wish: Wish) -> str:
    name = wish.name or token.name
    if not name:
        raise ConfigurationError(
            "the token leaves open what this mirror is called: give --name, such as zurich-1"
        )
    try:
        return check_node_name(name)
    except Problem as problem:
        raise ConfigurationError(str(problem)) from None


def _begin(directory: Path, token: JoinToken, name: str) -> None:
    """Makes the directory, or goes on in one that has not joined yet."""
    marker = directory / MARKER_NAME
    if (directory / SETTINGS_NAME).exists() and not marker.exists():
        raise ConfigurationError(
            f"{directory} has joined already: run it with 'smtpnic-secondary run -c "
            f"{directory / SETTINGS_NAME}', or give it a new key with --again"
        )
    if marker.exists():
        if _marked_name(marker) != name:
            # Under its first name it has said nothing to anyone yet.
            for each in (COSIGNER_KEY_NAME, COSIGNER_NOTE_NAME):
                (directory / DATA_NAME / each).unlink(missing_ok=True)
    else:
        make_empty(directory)
    said = {"token": sha256(token.secret).hexdigest()[:8], "name": name}
    write_atomic(marker, json.dumps(said).encode())


def _marked_name(marker: Path) -> str:
    with suppress(ValueError, KeyError, TypeError, OSError):
        return str(json.loads(marker.read_bytes())["name"])
    return ""


def _ask(
    token: JoinToken, key_path: Path, data: Path, wish: Wish, name: str
) -> tuple[bytes, Answer]:
    """The authority's certificate, and the primary's answer, checked."""
    try:
        server = Endpoint.parse(token.address)
    except ValueError as error:
        raise ConfigurationError(f"the token's address: {error}") from None
    if not key_path.exists():
        write_atomic(key_path, make_key())
    key = read_private(key_path)
    cosigner = MirrorCosigner(data, token.origin, name).verifier.vkey()
    authority = find_authority(server, token.authority)
    request = Request(token.secret, name, wish.names, make_request(key, name), cosigner)
    answer = ask_to_join(server, authority, request)
    _check(token, authority, key, answer)
    return authority, answer


def _check(token: JoinToken, authority: bytes, key: bytes, answer: Answer) -> None:
    """VerificationError unless what was given is what the token promised."""
    try:
        certificate = load_pem_x509_certificate(answer.certificate)
        certificate.verify_directly_issued_by(load_pem_x509_certificate(authority))
        requested = show(answer.certificate)
    except (ValueError, TypeError, InvalidSignature, ConfigurationError):
        raise SignatureError("the certificate is not by the registry's authority") from None
    if (requested.name, requested.key) != (answer.name, public_digest(key)):
        raise SignatureError("the certificate is another node's")
    chain = RootChain.pin(answer.root)
    if chain.name != token.origin:
        raise VerificationError(f"the root is of {chain.name}, not of {token.origin}")
    if token.authority not in chain.current.authorities:
        raise VerificationError(
            f"root {chain.version} does not name the authority by which the primary is known: tell "
            "the primary's operator"
        )


def _plan(token: JoinToken, answer: Answer, wish: Wish) -> MirrorPlan:
    listen = wish.listen or next(filter(_is_here, answer.names), ANY_ADDRESS)
    return MirrorPlan(
        answer.name,
        token.origin,
        listen,
        wish.http or private_address(listen),
        wish.ports,
        Endpoint.parse(answer.upstream),
        wish.zone or token.origin,
        wish.etcd,
        Endpoint.parse(token.address),
        answer.role != READER,
    )


def _is_here(name: str) -> bool:
    """Whether it is an address of this machine; behind NAT the outer one is not."""
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((name, 0))
    except OSError:
        return False
    return True
