"""The registry's servers over gRPC with TLS: the one package here that knows gRPC."""

from smtpnic.client.connection import Connection
from smtpnic.client.mirror import Mirror
from smtpnic.client.primary import Primary
from smtpnic.client.submit import SubmitStream

__all__ = ["Connection", "Mirror", "Primary", "SubmitStream"]
