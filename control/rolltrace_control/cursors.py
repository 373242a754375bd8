"""Where a stream of the log starts, and which cursors are refused."""

from __future__ import annotations

from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace_store.errors import InvalidArgumentError, StoreError
from rolltrace_store.interface import LogState


class CursorError(StoreError):
    """A cursor that names no place in this log.

    `reason` is CURSOR_EPOCH, CURSOR_COMPACTED or CURSOR_AHEAD.
    """

    def __init__(self, reason: str, message: str, log: LogState) -> None:
        super().__init__(message)
        self.reason = reason
        self.log = log


def start_of(request: pb.SubscribeRequest, log: LogState) -> int:
    """The sequence after which the stream begins. Raises CursorError, InvalidArgumentError."""
    if request.WhichOneof("start") == "after":
        _check(request.after, log)
        return request.after.sequence
    if request.position == pb.START_POSITION_LATEST:
        return log.head
    if request.position in (pb.START_POSITION_UNSPECIFIED, pb.START_POSITION_EARLIEST):
        return log.earliest - 1
    raise InvalidArgumentError("position", f"position {request.position} is not known")


def _check(cursor: pb.Cursor, log: LogState) -> None:
    if cursor.epoch and cursor.epoch != log.epoch:
        raise CursorError(
            "CURSOR_EPOCH",
            f"the cursor is of log {cursor.epoch!r}, this one is {log.epoch!r}: the environment is another "
            "one; start at EARLIEST",
            log,
        )
    check_kept(cursor.sequence, log)
    if cursor.sequence > log.head:
        raise CursorError(
            "CURSOR_AHEAD", f"the cursor is at {cursor.sequence}, the log's head at {log.head}", log
        )


def check_kept(sequence: int, log: LogState) -> None:
    """Raises CursorError when events after `sequence` were dropped."""
    if sequence < log.compacted:
        raise CursorError(
            "CURSOR_COMPACTED",
            f"events after {sequence} are gone; the earliest that is kept is {log.earliest}: start at "
            "EARLIEST",
            log,
        )


def header(log: LogState, start: int) -> pb.SubscribeResponse:
    """The first message of a stream that begins after `start`."""
    return pb.SubscribeResponse(
        header=pb.SubscribeHeader(
            epoch=log.epoch,
            earliest_sequence=log.earliest,
            head_sequence=log.head,
            cursor=pb.Cursor(epoch=log.epoch, sequence=start),
        )
    )


def progress(epoch: str, sequence: int) -> pb.SubscribeResponse:
    return pb.SubscribeResponse(progress=pb.Progress(cursor=pb.Cursor(epoch=epoch, sequence=sequence)))
