"""Asks mirrors how far the log was, before this primary signs anything.

A database and a checkpoint file that were restored together tell one story, and an old one:
only others know that the log went on. Signing below what a mirror holds would fork the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import grpc

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.logging import get_logger
from node.tls import channel_credentials
from primary.errors import DoubtfulStateError
from primary.log_signer import LogSigner
from primary.store.reader import Reader
from registry.checkpoint import open_checkpoint
from registry.errors import RegistryError
from registry.wire.v1 import mirror_pb2 as pb
from registry.wire.v1 import replication_pb2
from registry.wire.v1.mirror_pb2_grpc import MirrorStub

# A start waits for the slowest, and for those that are away.
ASK_SECONDS: Final = 5.0

_log = get_logger("mirrors")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a mirror shows: its checkpoint, and the board's roots that it knows."""

    mirror: Endpoint
    note: bytes
    roots: Sequence[bytes]


def check_mirrors(
    mirrors: Sequence[Endpoint], authority: bytes, reader: Reader, signer: LogSigner
) -> None:
    """Check that none of these mirrors holds more of the log, or another one.

    DoubtfulStateError: one does. ConfigurationError: none answers, so nobody can tell.
    """
    if not mirrors:
        return
    with ThreadPoolExecutor(len(mirrors)) as pool:
        shown = [each for each in pool.map(lambda m: _ask(m, authority), mirrors) if each]
    if not shown:
        raise ConfigurationError(
            f"none of the {len(mirrors)} mirrors answers, and one has to say how far the log was: "
            "start one, or set mirrors = [] if there is none"
        )
    stored = reader.head()
    for each in shown:
        if not each.note:
            continue
        try:
            chain = signer.chain.extend_all(each.roots)
            checkpoint = open_checkpoint(each.note, chain)
        except RegistryError as error:
            _log.warning("mirror.disbelieved", mirror=str(each.mirror), reason=str(error))
            continue
        if checkpoint.size > stored.size:
            raise DoubtfulStateError(
                f"the mirror {each.mirror} holds {checkpoint.size} entries that were signed, this "
                f"database {stored.size}: it is an older copy; see docs/trust.md, recovery"
            )
        ours = reader.root_at(checkpoint.size)
        if ours is not None and ours != checkpoint.root:
            raise DoubtfulStateError(
                f"the mirror {each.mirror} holds another log at size {checkpoint.size}: "
                "this database is not the one that was signed"
            )


def _ask(mirror: Endpoint, authority: bytes) -> Shown | None:
    with grpc.secure_channel(str(mirror), channel_credentials(authority)) as channel:
        stub = MirrorStub(channel)
        try:
            status = stub.GetStatus(pb.GetMirrorStatusRequest(), timeout=ASK_SECONDS)
            roots = stub.GetRoots(replication_pb2.GetRootsRequest(), timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            _log.warning("mirror.silent", mirror=str(mirror), reason=str(error.code()))
            return None
    return Shown(mirror, status.checkpoint, list(roots.roots))
