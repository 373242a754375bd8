"""Ends every RPC that raises by the table in errors.py. A shell."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from rolltrace_control.errors import INTERNAL_MESSAGE, Failure, failure_of

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

OURS = "/rolltrace.v1."

log = logging.getLogger(__name__)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of this package's services, each of them once."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith(OURS):
            return handler
        return self._wrapped.setdefault(method, _wrap(method, handler))


def _wrap(method: str, handler: Handler) -> Handler:
    make: Callable[..., Handler]
    behaviour: Behaviour
    if handler.response_streaming:
        make, behaviour = grpc.unary_stream_rpc_method_handler, handler.unary_stream  # type: ignore[assignment]
    else:
        make, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary  # type: ignore[assignment]
    return make(_guarded(method, behaviour), handler.request_deserializer, handler.response_serializer)


def _guarded(method: str, behaviour: Behaviour) -> Behaviour:
    async def guarded(request: object, context: Context) -> object:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                log.exception("%s failed", method)
                failure = Failure(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
            await context.abort(failure.code, failure.message, failure.trailers())

    return guarded
