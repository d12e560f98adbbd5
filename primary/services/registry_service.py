"""Registration: holders and mail servers, changed or read, by anyone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc

from node.grpc_calls import Context
from node.listener import Service
from primary.changes import Change
from primary.intake import Intake, Submitted
from primary.metrics import PrimaryMetrics
from primary.services import conversion
from primary.services.answers import abort_unchanged, abort_with_problem
from primary.services.bulk import BulkSubmission
from primary.services.queries import Queries
from registry.errors import Problem, RegistryError
from registry.wire.v1 import registration_pb2 as pb

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Registry"].full_name

# Some batches later there is room again.
BUSY_MS: Final = 200


class RegistryService:
    """smtpnic.v1.Registry. `admit` raises Problem for a change that is not taken this way."""

    def __init__(
        self,
        intake: Intake,
        queries: Queries,
        bulk: BulkSubmission,
        metrics: PrimaryMetrics,
        *,
        admit: Callable[[Change], None],
    ) -> None:
        self._admit = admit
        self._intake = intake
        self._queries = queries
        self._bulk = bulk
        self._metrics = metrics

    def service(self) -> Service:
        """The handlers."""
        change = self._change_handler
        return Service(
            NAME,
            {
                "CreateHolder": change(conversion.create_holder, pb.CreateHolderRequest),
                "UpdateHolder": change(conversion.update_holder, pb.UpdateHolderRequest),
                "WithdrawHolder": change(conversion.withdraw_holder, pb.WithdrawHolderRequest),
                "Register": change(conversion.register, pb.RegisterRequest),
                "Update": change(conversion.update, pb.UpdateRequest),
                "Withdraw": change(conversion.withdraw, pb.WithdrawRequest),
                **self._queries.handlers(),
                "Submit": grpc.stream_stream_rpc_method_handler(
                    self._bulk.submit,
                    pb.SubmitRequest.FromString,
                    pb.SubmitResponse.SerializeToString,
                ),
            },
        )

    def _change_handler(
        self, convert: Callable[[Any], Change], request_type: type[Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of one kind of change."""

        async def handle(request: Any, context: Context) -> pb.ChangeResponse:
            try:
                change = convert(request)
                self._admit(change)
                submitted = await self._intake.submit((change,))
            except Problem as problem:
                submitted = Submitted([problem], b"")
            except RegistryError as error:
                await abort_unchanged(context, error, BUSY_MS)
            (outcome,) = submitted.outcomes
            if isinstance(outcome, Problem):
                self._metrics.refused.labels(outcome.code).inc()
                await abort_with_problem(context, outcome)
            receipt = pb.Receipt(index=outcome, checkpoint=submitted.checkpoint)
            return pb.ChangeResponse(receipt=receipt)

        return grpc.unary_unary_rpc_method_handler(
            handle, request_type.FromString, pb.ChangeResponse.SerializeToString
        )
