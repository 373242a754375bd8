"""An RPC's failure with its google.rpc details."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above

D = TypeVar("D", bound=Message)


@dataclass(frozen=True, slots=True)
class Failed:
    """What a caller learns of a failure."""

    code: grpc.StatusCode
    message: str
    status: Status

    def detail(self, kind: type[D]) -> D:
        """The only detail, which is of this kind."""
        (packed,) = self.status.details
        found = kind()
        assert packed.Unpack(found), packed.type_url
        return found

    @property
    def field(self) -> str:
        """The field of BadRequest's only violation."""
        (violation,) = self.detail(rpc.BadRequest).field_violations
        return str(violation.field)


async def failure(call: Awaitable[object]) -> Failed:
    """The failure in which the call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return read(raised.value)


def read(error: grpc.aio.AioRpcError) -> Failed:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return Failed(error.code(), error.details() or "", status)
