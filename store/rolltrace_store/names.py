"""Which names the contract allows (session.proto, trace.proto, worker.proto, policy_service.proto).

Decisions only.
"""

from __future__ import annotations

import re

from rolltrace_store.errors import InvalidArgumentError

MAX_SESSION_ID = 400
MAX_REQUEST_ID = 128
MAX_POLICY_VERSION = 200
_TRACE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN = re.compile(r"[A-Za-z0-9_:-]{3,400}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The characters of Unicode's category Cc."""
_WORKER_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def check_session_id(session_id: str, field: str = "session_id") -> None:
    """Raises InvalidArgumentError, which says what is wrong, unless it may name a session."""
    if not _PLAIN.fullmatch(session_id) and (reason := _session_id_fault(session_id)):
        raise InvalidArgumentError(field, f"{field} {session_id[:80]!r} {reason}")


def _session_id_fault(session_id: str) -> str:
    try:
        size = len(session_id.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if not 1 <= size <= MAX_SESSION_ID:
        return f"has {size} bytes; 1 to {MAX_SESSION_ID} are allowed"
    if _CONTROL.search(session_id):
        return "holds a control character"
    segments = session_id.split("/")
    if not segments[0] or not segments[-1]:
        return "begins or ends with a slash"
    if not {"", ".", ".."}.isdisjoint(segments):
        return 'holds an empty, "." or ".." segment'
    if "v1" in segments:
        return 'holds a "v1" segment, which would end it in a URL'
    return ""


def check_worker_id(worker_id: str, field: str = "worker.worker_id") -> None:
    """Raises InvalidArgumentError unless it may name a worker."""
    if not _WORKER_ID.fullmatch(worker_id):
        raise InvalidArgumentError(field, f"{field} {worker_id[:80]!r} is not 1 to 128 of [A-Za-z0-9._:-]")


def check_policy_version(policy_version: str, field: str = "policy_version") -> None:
    """Raises InvalidArgumentError unless it may name a version of the policy."""
    size = len(policy_version.encode(errors="replace"))
    if not 1 <= size <= MAX_POLICY_VERSION:
        raise InvalidArgumentError(field, f"{field} has {size} bytes; 1 to {MAX_POLICY_VERSION} are allowed")
    if _CONTROL.search(policy_version):
        raise InvalidArgumentError(field, f"{field} {policy_version!r} holds a control character")


def check_request_id(request_id: str, field: str = "request_id") -> None:
    """Raises InvalidArgumentError unless it may name a request. An empty one may."""
    if len(request_id.encode(errors="replace")) > MAX_REQUEST_ID or "\0" in request_id:
        raise InvalidArgumentError(field, f"{field} has more than {MAX_REQUEST_ID} bytes, or a NUL")


def check_trace_id(trace_id: str, field: str = "trace_id") -> None:
    """Raises InvalidArgumentError unless it is a UUID in its usual form, in lower case."""
    if not _TRACE_ID.fullmatch(trace_id):
        raise InvalidArgumentError(field, f"{field} {trace_id[:80]!r} is not a UUID of 36 characters")
