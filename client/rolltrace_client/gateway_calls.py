"""The calls about the gateway as a whole; see call.py."""

from __future__ import annotations

from rolltrace.v1 import gateway_service_pb2 as pb

from .call import Call
from .cursor import Cursor
from .status import Status

_SERVICE = "/rolltrace.v1.GatewayService/"


def status(*, timeout: float | None = None) -> Call[Status]:
    """How the gateway is: its log, store, workers and proxy."""
    body = pb.GetStatusRequest().SerializeToString()
    return Call(_SERVICE + "GetStatus", body, _status, timeout)


def flush(*, timeout: float | None = None) -> Call[Cursor]:
    """Returns the end of the log, once every call whose answer had ended is in it."""
    return Call(_SERVICE + "Flush", pb.FlushRequest().SerializeToString(), _flushed, timeout)


def _status(data: bytes) -> Status:
    return Status(pb.GetStatusResponse.FromString(data))


def _flushed(data: bytes) -> Cursor:
    head = pb.FlushResponse.FromString(data)
    return Cursor(head.epoch, head.head_sequence)
