"""What the gateway itself answers when a call can't be served: one table from faults to HTTP.

Rule: nothing else in the proxy chooses a status. An error of the worker is not in here, since it reaches
the agent as it came. The body is an error object of the OpenAI API, so that every SDK can show it.
"""

from __future__ import annotations

import enum
import json

from rolltrace_store.errors import (
    SealedError,
    SessionDeletedError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)


class Fault(enum.StrEnum):
    """The value is `error.code` in the answer and in the trace."""

    INVALID_SESSION_ID = "invalid_session_id"
    INVALID_PATH = "invalid_path"
    INVALID_REQUEST = "invalid_request"
    PREVIOUS_NOT_FOUND = "previous_response_not_found"
    AMBIGUOUS_KEY = "ambiguous_key"
    INVALID_API_KEY = "invalid_api_key"
    PERMISSION_DENIED = "permission_denied"
    EXPECTATION_FAILED = "expectation_failed"
    NOT_FOUND = "not_found"
    SESSION_SEALED = "session_sealed"
    SESSION_DELETED = "session_deleted"
    SESSION_LIMIT = "session_limit"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    TOO_MANY_CALLS = "too_many_calls"
    DRAINING = "draining"
    NO_WORKER = "no_worker"
    UNREACHABLE = "worker_unreachable"
    DISCONNECTED = "upstream_disconnected"
    UNTRANSLATABLE = "untranslatable_answer"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_BYTE = "timeout_first_byte"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    STORE_FULL = "store_full"
    STORE_BUSY = "store_busy"
    STORE_FAILED = "store_failed"
    INTERNAL = "internal_error"


_INVALID, _SERVER, _LIMIT = "invalid_request_error", "server_error", "rate_limit_error"
_TABLE: dict[Fault, tuple[int, str]] = {
    Fault.INVALID_SESSION_ID: (400, _INVALID),
    Fault.INVALID_PATH: (400, _INVALID),
    Fault.INVALID_REQUEST: (400, _INVALID),
    Fault.PREVIOUS_NOT_FOUND: (400, _INVALID),
    Fault.AMBIGUOUS_KEY: (400, _INVALID),
    Fault.INVALID_API_KEY: (401, _INVALID),
    Fault.PERMISSION_DENIED: (403, _INVALID),
    Fault.EXPECTATION_FAILED: (417, _INVALID),
    Fault.NOT_FOUND: (404, _INVALID),
    Fault.SESSION_SEALED: (409, _INVALID),
    Fault.SESSION_DELETED: (410, _INVALID),
    Fault.REQUEST_TIMEOUT: (408, _INVALID),
    Fault.BODY_TOO_LARGE: (413, _INVALID),
    Fault.HEADERS_TOO_LARGE: (431, _INVALID),
    Fault.SESSION_LIMIT: (429, _LIMIT),
    Fault.TOO_MANY_CALLS: (503, _SERVER),
    Fault.DRAINING: (503, _SERVER),
    Fault.NO_WORKER: (503, _SERVER),
    Fault.UNREACHABLE: (502, _SERVER),
    Fault.DISCONNECTED: (502, _SERVER),
    Fault.UNTRANSLATABLE: (502, _SERVER),
    Fault.TIMEOUT_CONNECT: (504, _SERVER),
    Fault.TIMEOUT_FIRST_BYTE: (504, _SERVER),
    Fault.TIMEOUT_IDLE: (504, _SERVER),
    Fault.TIMEOUT_TOTAL: (504, _SERVER),
    Fault.STORE_FULL: (507, _SERVER),
    Fault.STORE_BUSY: (503, _SERVER),
    Fault.STORE_FAILED: (503, _SERVER),
    Fault.INTERNAL: (500, _SERVER),
}
_UPSTREAM = frozenset(
    {
        Fault.UNREACHABLE,
        Fault.DISCONNECTED,
        Fault.UNTRANSLATABLE,
        Fault.TIMEOUT_CONNECT,
        Fault.TIMEOUT_FIRST_BYTE,
        Fault.TIMEOUT_IDLE,
        Fault.TIMEOUT_TOTAL,
    }
)
# The SDKs would repeat a 409 or a 429.
_NEVER_RETRY = frozenset({Fault.SESSION_SEALED, Fault.SESSION_DELETED, Fault.SESSION_LIMIT})
# What the store does not take it would not take the record of either.
_NO_TRACE = frozenset(
    {
        Fault.SESSION_SEALED,
        Fault.SESSION_DELETED,
        Fault.STORE_FULL,
        Fault.STORE_BUSY,
        Fault.STORE_FAILED,
    }
)
_RETRY_SOON = frozenset(
    {Fault.TOO_MANY_CALLS, Fault.DRAINING, Fault.NO_WORKER, Fault.STORE_BUSY, Fault.STORE_FAILED}
)


class Refused(Exception):
    """A call that the gateway answers with an error of its own. The message is for people; `param` names
    the member of the request that is at fault, if one is."""

    def __init__(self, fault: Fault, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param

    @property
    def status(self) -> int:
        return _TABLE[self.fault][0]

    @property
    def upstream(self) -> bool:
        """Whether a worker failed, rather than the gateway refused."""
        return self.fault in _UPSTREAM

    @property
    def leaves_trace(self) -> bool:
        """Whether it is recorded when it comes before the call's admission."""
        return self.fault not in _NO_TRACE

    def headers(self) -> dict[str, str]:
        soon = {"Retry-After": "1"} if self.fault in _RETRY_SOON else {}
        never = {"x-should-retry": "false"} if self.fault in _NEVER_RETRY else {}
        challenge = {"WWW-Authenticate": 'Bearer realm="rolltrace"'} if self.status == 401 else {}
        return {"Content-Type": "application/json", **soon, **never, **challenge}

    def body(self) -> bytes:
        kind = _TABLE[self.fault][1]
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.fault.value}
        return json.dumps({"error": error}, ensure_ascii=False).encode()


def of_store(error: StoreError) -> Refused:
    """An error of the store, as the agent sees it when it has seen nothing yet."""
    if isinstance(error, SessionDeletedError):
        return deleted(error.session_id)
    if isinstance(error, SealedError):
        return sealed(error.session_id)
    if isinstance(error, StoreFullError):
        return Refused(Fault.STORE_FULL, f"The call could not be recorded: {error}")
    if isinstance(error, StoreBusyError):
        return Refused(Fault.STORE_BUSY, f"The call could not be recorded: {error}. Try again shortly.")
    return Refused(Fault.STORE_FAILED, f"The store failed: {error}")


def sealed(session_id: str) -> Refused:
    return Refused(Fault.SESSION_SEALED, f"Session {session_id!r} is sealed: it takes no more calls.")


def deleted(session_id: str) -> Refused:
    return Refused(
        Fault.SESSION_DELETED,
        f"Session {session_id!r} was deleted: it takes no more calls. Create it again, or call another.",
    )
