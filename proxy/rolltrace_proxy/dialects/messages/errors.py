"""Errors in the shape of the Messages API: its types by HTTP status. The only such table."""

from __future__ import annotations

from rolltrace_proxy.capture import error_message
from rolltrace_proxy.raw_json import INTEGER, OBJECT, Object, read_member, read_object, write

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def error_object(status: int, message: str, **more: str) -> bytes:
    """more: other members of the object."""
    error = {"type": error_type(status), "message": message}
    return write({"type": "error", "error": error, **more})


def translate_error(status: int, body: bytes, trace_id: str, why: str = "") -> bytes:
    """A worker's error answer, whatever its shape; why: a sentence to add."""
    top = read_object(body)
    said = (None if top is None else error_message(top)) or body.decode(errors="replace")
    return error_object(status, f"{said} ({why})" if why else said, request_id=trace_id)


def status_of_chunk(chunk: Object) -> int:
    """The status that a worker names in an error within a stream, which began with 200."""
    error = read_member(OBJECT, chunk, "error") or {}
    code = read_member(INTEGER, error, "code")
    return code if code is not None and 400 <= code < 600 else 500
