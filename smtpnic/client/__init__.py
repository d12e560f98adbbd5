"""The registry's servers over gRPC with TLS: the one package here that knows gRPC."""

from smtpnic.client.applications import ApplicationStream
from smtpnic.client.board import BoardClient
from smtpnic.client.connection import Connection
from smtpnic.client.mirror import Mirror
from smtpnic.client.primary import Primary
from smtpnic.client.registering import Registering, prove_from
from smtpnic.client.submit import SubmitStream

__all__ = [
    "ApplicationStream",
    "BoardClient",
    "Connection",
    "Mirror",
    "Primary",
    "Registering",
    "SubmitStream",
    "prove_from",
]
