"""The gateway as a whole, as a value."""

from __future__ import annotations

from rolltrace.v1 import gateway_service_pb2

from .cursor import Cursor
from .value import Field, Maybe, Value, moment, seconds


class Status(Value[gateway_service_pb2.GetStatusResponse]):
    """What the control service knows of itself, the log, the store and the proxy. Sizes are bytes."""

    version = Field(str)
    start_time = Maybe(moment)
    uptime = Maybe(seconds)
    epoch = Field(str)
    earliest_sequence = Field(int)
    head_sequence = Field(int)
    session_count = Field(int)
    trace_count = Field(int)
    worker_count = Field(int)
    healthy_worker_count = Field(int)
    subscriber_count = Field(int)
    store_used_bytes = Field(int)
    store_file_bytes = Field(int)
    store_limit_bytes = Field(int)
    proxy_url = Field(str)
    proxy_healthy = Field(bool)

    @property
    def head(self) -> Cursor:
        """The end of the log: subscribe after it to see only what comes next."""
        return Cursor(self.epoch, self.head_sequence)
