"""Workers as values: the inference servers that calls are forwarded to."""

from __future__ import annotations

from enum import auto

from rolltrace.v1 import worker_pb2

from .value import Field, Maybe, Value, Word, moment


class WorkerState(Word):
    UNSPECIFIED = auto()
    ACTIVE = auto()
    CORDONED = auto()
    DRAINING = auto()


class WorkerHealth(Word):
    UNSPECIFIED = auto()
    UNKNOWN = auto()
    HEALTHY = auto()
    UNHEALTHY = auto()


class Worker(Value[worker_pb2.Worker]):
    """A worker. Its api_key is never returned. `engine` was given, `detected_engine` was found by asking."""

    worker_id = Field(str)
    url = Field(str)
    model_names = Field(list[str])
    weight = Field(float)
    api_path = Field(str)
    engine = Field(str)
    detected_engine = Field(str)
    state = Field(WorkerState.read)
    health = Field(WorkerHealth.read)
    health_message = Field(str)
    health_change_time = Maybe(moment)
    register_time = Maybe(moment)

    def _title(self) -> str:
        return f"{self.worker_id} {self.url} {self.state}, {self.health}"
