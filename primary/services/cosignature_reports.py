"""ReportCosignature: mirrors tell what they have durably stored; each word is checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from node.errors import StorageError
from node.fork_file import keep_evidence
from node.grpc_calls import Context
from node.logging import get_logger
from node.tls import peer_name
from node.workers import Workers
from primary.cosignatures import Cosignatures
from primary.cosigner_keys import CosignerKeys
from primary.metrics import PrimaryMetrics
from primary.public_log import PublicLog
from primary.tile_keeper import TileKeeper
from registry.checkpoint import CheckpointKeys
from registry.cosigning import Cosigned, open_cosigned
from registry.errors import ForkError, Problem, VerificationError
from registry.fork import check_begins
from registry.wire.v1 import replication_pb2 as pb

# Clocks are right to a few seconds; a cosignature from the future would pass for fresh later.
MAX_AHEAD_SECONDS: Final = 300.0
# Tiles follow a commit within milliseconds.
TILES_SECONDS: Final = 5.0

_log = get_logger("cosignatures")


@dataclass(frozen=True, slots=True)
class ReportSources:
    """What reports are checked against; `data_dir` takes the evidence of a fork."""

    log: PublicLog
    tiles: TileKeeper
    pool: Workers
    keys: CosignerKeys
    log_keys: Callable[[], CheckpointKeys]
    data_dir: Path
    metrics: PrimaryMetrics


class CosignatureReports:
    """Takes reports; for the event loop's thread only."""

    def __init__(
        self,
        sources: ReportSources,
        cosignatures: Cosignatures,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._from = sources
        self._cosignatures = cosignatures
        self._clock = clock

    def handler(
        self,
    ) -> grpc.RpcMethodHandler[pb.ReportCosignatureRequest, pb.ReportCosignatureResponse]:
        """The handler of Replication's method."""
        return grpc.unary_unary_rpc_method_handler(
            self._report,
            pb.ReportCosignatureRequest.FromString,
            pb.ReportCosignatureResponse.SerializeToString,
        )

    async def _report(
        self, request: pb.ReportCosignatureRequest, context: Context
    ) -> pb.ReportCosignatureResponse:
        node = peer_name(context.auth_context()) or "unnamed"
        try:
            cosigned = await self._open(node, request)
            await self._check(cosigned)
        except Problem as problem:
            await self._refuse(context, node, "key", grpc.StatusCode.PERMISSION_DENIED, problem)
        except ForkError as fork:
            await self._alarm(context, node, fork)
        except (VerificationError, ValueError) as error:
            await self._refuse(context, node, "unverified", grpc.StatusCode.INVALID_ARGUMENT, error)
        except (StorageError, TimeoutError) as error:
            _log.warning("cosignature.unchecked", node=node, reason=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "it cannot be checked now; try again")
        else:
            self._cosignatures.add(node, cosigned)
        return pb.ReportCosignatureResponse()

    async def _open(self, node: str, request: pb.ReportCosignatureRequest) -> Cosigned:
        """The report with its signatures verified. Problem, VerificationError, StorageError."""
        verifier = self._from.keys.parse(node, request.key)
        cosigned = open_cosigned(request.checkpoint, verifier, self._from.log_keys())
        # Only a key that has signed is remembered.
        await self._from.pool.run(self._from.keys.check, node, verifier)
        ahead = cosigned.time_s - self._clock()
        if ahead > MAX_AHEAD_SECONDS:
            raise ValueError(f"cosigned {ahead:.0f} s from now: set the clock right")
        return cosigned

    async def _check(self, cosigned: Cosigned) -> None:
        """ForkError, or ValueError for one beyond the log, unless it is of this log."""
        head, checkpoint = self._from.log.head, cosigned.checkpoint
        if checkpoint.size > head.size:
            self._from.metrics.behind_mirrors.set(1)
            _log.error(
                "log.behind_mirror",
                size=head.size,
                cosigned=checkpoint.size,
                advice="this log lacks what its key signed: stop, and restore the newest database",
            )
            raise ValueError(f"a log of {checkpoint.size} entries, where this has {head.size}")
        await self._from.tiles.wait_for(checkpoint.size, TILES_SECONDS)
        await self._from.pool.run(
            check_begins,
            checkpoint,
            cosigned.note,
            head.checkpoint,
            head.size,
            self._from.tiles.files,
        )

    async def _refuse(
        self, context: Context, node: str, why: str, code: grpc.StatusCode, error: Exception
    ) -> None:
        self._from.metrics.cosignatures_refused.labels(why=why).inc()
        _log.warning("cosignature.refused", node=node, reason=str(error))
        await context.abort(code, str(error))

    async def _alarm(self, context: Context, node: str, fork: ForkError) -> None:
        """A mirror holds another log that this log's key signed."""
        metrics = self._from.metrics
        metrics.forked.set(1)
        metrics.cosignatures_refused.labels(why="fork").inc()
        path = await self._from.pool.run(keep_evidence, fork, self._from.data_dir)
        _log.error(
            "log.forked",
            node=node,
            evidence=str(path),
            advice="the log's key signed two logs: publish the file, and find out who has the key",
        )
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(fork))
