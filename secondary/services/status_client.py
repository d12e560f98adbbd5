"""Asks a running secondary, by its own mirror service, how it stands."""

from __future__ import annotations

from typing import Final

import grpc
from cryptography import x509

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.tls import channel_credentials, read_certificates
from registry.wire.v1 import mirror_pb2 as pb
from registry.wire.v1.mirror_pb2_grpc import MirrorStub
from secondary.settings import SecondarySettings

CALL_SECONDS: Final = 5.0
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def get_status(settings: SecondarySettings) -> pb.MirrorStatus:
    """The status; ConnectionError if the secondary does not answer."""
    listen = settings.mirror.listen
    endpoint = Endpoint(_ANY.get(listen.host, listen.host), listen.port)
    authority = read_certificates(settings.tls.ca)
    # It is reached by a local address, which need not be in its certificate.
    options = [("grpc.ssl_target_name_override", _name_in_certificate(settings))]
    credentials = channel_credentials(authority)
    with grpc.secure_channel(str(endpoint), credentials, options=options) as channel:
        try:
            return MirrorStub(channel).GetStatus(pb.GetMirrorStatusRequest(), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise ConnectionError(
                f"no secondary answers on {endpoint} ({error.details()}): "
                "start it with 'smtpnic-secondary run'"
            ) from error


def _name_in_certificate(settings: SecondarySettings) -> str:
    certificate = x509.load_pem_x509_certificate(read_certificates(settings.tls.certificate))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ConfigurationError(f"{settings.tls.certificate} names no host") from None
    hosts = names.get_values_for_type(x509.DNSName)
    return hosts[0] if hosts else str(names.get_values_for_type(x509.IPAddress)[0])
