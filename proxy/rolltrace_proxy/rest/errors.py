"""How REST calls fail: {"error": MESSAGE}, as rLLM's gateway; and one table from gRPC to HTTP. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpc import StatusCode

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "RESOURCE_EXHAUSTED": 507,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""By the name of a gRPC status; 500 for the others."""


class RestError(Exception):
    """A REST call that gets an error; the message is for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad(message: str) -> RestError:
    return RestError(400, message)


def of_rpc(code: StatusCode, details: str, where: str, *, reached: bool) -> RestError:
    """Of an RPC that failed. `reached`: control itself said so; `where` it should be."""
    if not reached and code.name == "UNAVAILABLE":
        return RestError(503, f"the control service cannot be reached at {where}: {_REMEDY} ({details})")
    if not reached and code.name == "DEADLINE_EXCEEDED":
        return RestError(504, f"the control service at {where} did not answer in time: {_HUNG}")
    return RestError(_STATUSES.get(code.name, 500), details)


_REMEDY = (
    "start it on the same machine and db_path, as `rolltrace up` does; agents' calls are served meanwhile"
)
_HUNG = "look at its log, or start it anew; agents' calls are served meanwhile"
