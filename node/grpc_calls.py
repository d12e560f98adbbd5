"""What handlers of gRPC calls share."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import grpc
from grpc import aio

Context = aio.ServicerContext[Any, Any]

# gRPC clients with a retry policy wait for so long (gRFC A6).
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"


async def abort_busy(context: Context, message: str, retry_ms: int) -> NoReturn:
    """Ends the call with a request to come again after `retry_ms`."""
    await context.abort(
        grpc.StatusCode.RESOURCE_EXHAUSTED, message, ((PUSHBACK_KEY, str(retry_ms)),)
    )
