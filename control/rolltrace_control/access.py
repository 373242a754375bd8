"""Who may call: with auth, the holder of the admin token, in metadata `authorization: Bearer TOKEN`.

Health alone is for everybody. Tokens are compared in constant time, and no message repeats one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hmac import compare_digest
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace_control.errors import DOMAIN, Failure
from rolltrace_control.interceptor import Context, Handler
from rolltrace_settings.access import admin_tokens
from rolltrace_settings.settings import Settings
from rolltrace_store.session_key import session_of_key

Metadata: TypeAlias = "Sequence[tuple[str, str | bytes]]"

HEALTH = "/grpc.health.v1.Health/"
KEY = "authorization"

log = logging.getLogger(__name__)


class Access(grpc.aio.ServerInterceptor):
    """Lets calls in, or ends them before their handlers hear of them."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self._secret = secret
        self._settings = settings
        self._tokens = admin_tokens(settings)

    def reload(self) -> None:
        """Reads the tokens again. Raises SettingsError, and changes nothing then."""
        self._tokens = admin_tokens(self._settings)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        failure = None
        if self._settings.auth == "token" and not method.startswith(HEALTH):
            failure = denial(handler_call_details.invocation_metadata, self._tokens, self._secret)
        if failure is None:
            return await continuation(handler_call_details)
        log.debug("%s was denied: %s", method, failure.message)
        return _ended(failure)


def denial(metadata: Any, tokens: Sequence[bytes], secret: bytes) -> Failure | None:
    """Why a call with this metadata is not let in; None when it is."""
    values = [value for name, value in metadata or () if name == KEY]
    if len(values) != 1:
        return _failure(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_MISSING" if not values else "TOKEN_AMBIGUOUS",
            "this service asks for the admin token, once, as metadata `authorization: Bearer TOKEN`",
        )
    scheme, _, token = str(values[0]).strip().partition(" ")
    given = token.strip().encode() if scheme.lower() == "bearer" else b""
    if any([compare_digest(given, known) for known in tokens]):  # noqa: C419  # each one, whatever the first says
        return None
    if session_of_key(secret, token.strip()) is not None:
        return _failure(
            grpc.StatusCode.PERMISSION_DENIED,
            "TOKEN_OF_SESSION",
            "a session's key opens that session's path at the proxy alone; give the admin token",
        )
    return _failure(
        grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not the admin token of this service"
    )


def _failure(code: grpc.StatusCode, reason: str, message: str) -> Failure:
    return Failure(code, message, [rpc.ErrorInfo(reason=reason, domain=DOMAIN)])


def _ended(failure: Failure) -> Handler:
    """A handler for any RPC: one that streams both ways need not wait for a request."""

    async def end(_: AsyncIterator[bytes], context: Context) -> None:
        await context.abort(failure.code, failure.message, failure.trailers())

    make: Callable[..., Handler] = grpc.stream_stream_rpc_method_handler
    return make(end)
