"""The one table from errors of the domain to gRPC statuses with google.rpc details.

Nothing else maps errors. An error that the table does not know is INTERNAL and says nothing of what is
inside; the log has the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above

from rolltrace_control.cursors import CursorError
from rolltrace_store.errors import (
    AlreadyExistsError,
    CorruptError,
    InvalidArgumentError,
    NotFoundError,
    SealedError,
    SessionDeletedError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreFullError,
)

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "rolltrace.v1"
INTERNAL_MESSAGE = "an internal error; the log of the control service has the cause"
E = TypeVar("E", bound=StoreError)


class DrainingError(StoreError):
    """The service goes away; another instance, or the next one, goes on."""


class StillSealingError(StoreError):
    """The caller's time was over before the session was sealed."""

    def __init__(self, session_id: str, calls: int) -> None:
        super().__init__(
            f"session {session_id!r} is SEALING still, {calls} of its calls run: it will be sealed when they "
            "have ended or its time is over; ask again to wait for it"
        )
        self.session_id = session_id


@dataclass(frozen=True, slots=True)
class Failure:
    """How an RPC ends."""

    code: grpc.StatusCode
    message: str
    details: Sequence[Message] = ()

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The google.rpc.Status as gRPC carries it."""
        number = self.code.value[0]
        status = Status(code=number, message=self.message)
        for detail in self.details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        return ((DETAILS_KEY, status.SerializeToString()),)


def _invalid(error: InvalidArgumentError) -> Failure:
    violation = rpc.BadRequest.FieldViolation(field=error.field, description=str(error))
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT, str(error), [rpc.BadRequest(field_violations=[violation])]
    )


def _resource(kind: str, name: str, error: StoreError) -> rpc.ResourceInfo:
    return rpc.ResourceInfo(
        resource_type=f"{DOMAIN}.{kind.capitalize()}", resource_name=name, description=str(error)
    )


def _not_found(error: NotFoundError) -> Failure:
    return Failure(grpc.StatusCode.NOT_FOUND, str(error), [_resource(error.kind, error.name, error)])


def _exists(error: AlreadyExistsError) -> Failure:
    return Failure(grpc.StatusCode.ALREADY_EXISTS, str(error), [_resource(error.kind, error.name, error)])


def _deleted(error: SessionDeletedError) -> Failure:
    return Failure(grpc.StatusCode.NOT_FOUND, str(error), [_resource("session", error.session_id, error)])


def _seal(code: grpc.StatusCode, reason: str) -> Callable[[SealedError | StillSealingError], Failure]:
    def failure(error: SealedError | StillSealingError) -> Failure:
        info = rpc.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"session_id": error.session_id})
        return Failure(code, str(error), [info])

    return failure


def _retry(code: grpc.StatusCode, seconds: float) -> Callable[[StoreError], Failure]:
    info = rpc.RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    return lambda error: Failure(code, str(error), [info])


def _cursor(error: CursorError) -> Failure:
    foreign = error.reason == "CURSOR_EPOCH"
    metadata = {
        "epoch": error.log.epoch,
        "earliest_sequence": str(error.log.earliest),
        "head_sequence": str(error.log.head),
    }
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION if foreign else grpc.StatusCode.OUT_OF_RANGE,
        str(error),
        [rpc.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)],
    )


def _corrupt(error: CorruptError) -> Failure:
    return Failure(grpc.StatusCode.DATA_LOSS, str(error))


@dataclass(frozen=True, slots=True)
class _Row:
    kind: type[StoreError]
    failure: Callable[[StoreError], Failure]


def _row(kind: type[E], failure: Callable[[E], Failure]) -> _Row:
    return _Row(kind, cast(Callable[[StoreError], Failure], failure))


TABLE = (
    _row(InvalidArgumentError, _invalid),
    _row(NotFoundError, _not_found),
    _row(AlreadyExistsError, _exists),
    _row(SessionDeletedError, _deleted),
    _row(SealedError, _seal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_SEALED")),
    _row(StillSealingError, _seal(grpc.StatusCode.DEADLINE_EXCEEDED, "SESSION_SEALING")),
    _row(CursorError, _cursor),
    _row(CorruptError, _corrupt),
    _row(StoreFullError, _retry(grpc.StatusCode.RESOURCE_EXHAUSTED, 5.0)),
    _row(StoreBusyError, _retry(grpc.StatusCode.UNAVAILABLE, 0.2)),
    _row(StoreClosedError, _retry(grpc.StatusCode.UNAVAILABLE, 1.0)),
    _row(DrainingError, _retry(grpc.StatusCode.UNAVAILABLE, 0.5)),
)


def failure_of(error: Exception) -> Failure | None:
    """How an RPC ends that raised `error`; None for an error that nobody foresaw."""
    for row in TABLE:
        if isinstance(error, row.kind):
            return row.failure(error)
    return None
