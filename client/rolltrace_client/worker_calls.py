"""The calls about workers; see call.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from google.protobuf.field_mask_pb2 import FieldMask

from rolltrace.v1 import worker_pb2
from rolltrace.v1 import worker_service_pb2 as pb

from .call import Call, Pages, new_request_id
from .errors import invalid
from .value import duration
from .workers import Worker, WorkerState

_SERVICE = "/rolltrace.v1.WorkerService/"


def register_worker(
    url: str,
    *,
    worker_id: str = "",
    model_names: Iterable[str] = (),
    weight: float = 1.0,
    api_path: str = "",
    api_key: str = "",
    engine: str = "",
    ca_pem: str = "",
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[Worker]:
    """Adds a worker: an inference server that calls are forwarded to.

    Registering the same id and URL again updates the rest. No model names: it serves every model.
    `ca_pem` are certificates that an https worker's own must descend from, instead of the system's.
    Raises AlreadyExists when the id is taken by another URL.
    """
    new = worker_pb2.Worker(
        worker_id=worker_id,
        url=url,
        model_names=_names(model_names),
        weight=weight,
        api_path=api_path,
        api_key=api_key,
        engine=engine,
        ca_pem=ca_pem,
    )
    made = pb.RegisterWorkerRequest(worker=new, request_id=new_request_id(request_id))
    return Call(_SERVICE + "RegisterWorker", made.SerializeToString(), _registered, timeout)


def update_worker(
    worker_id: str,
    *,
    weight: float | None = None,
    state: WorkerState | None = None,
    model_names: Iterable[str] | None = None,
    api_path: str | None = None,
    api_key: str | None = None,
    engine: str | None = None,
    ca_pem: str | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[Worker]:
    """Changes what is given and leaves the rest. `state` is ACTIVE or CORDONED. Raises NotFound."""
    new = worker_pb2.Worker(
        worker_id=worker_id,
        weight=weight or 0.0,
        model_names=_names(model_names or ()),
        api_path=api_path or "",
        api_key=api_key or "",
        engine=engine or "",
        ca_pem=ca_pem or "",
    )
    if state is not None:
        new.state = cast("worker_pb2.WorkerState.ValueType", state.number)
    given = {
        "weight": weight,
        "state": state,
        "model_names": model_names,
        "api_path": api_path,
        "api_key": api_key,
        "engine": engine,
        "ca_pem": ca_pem,
    }
    mask = FieldMask(paths=[name for name, value in given.items() if value is not None])
    if not mask.paths:
        raise invalid("update_mask", f"nothing to change: give one of {', '.join(given)}")
    made = pb.UpdateWorkerRequest(worker=new, update_mask=mask, request_id=new_request_id(request_id))
    return Call(_SERVICE + "UpdateWorker", made.SerializeToString(), _updated, timeout)


def deregister_worker(
    worker_id: str,
    *,
    drain_timeout: float = 0.0,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[bool]:
    """Removes a worker, after waiting up to `drain_timeout` seconds for its calls to end.

    Returns False when calls still ran; they are not cut off. The wait is added to `timeout`. Raises NotFound.
    """
    made = pb.DeregisterWorkerRequest(worker_id=worker_id, request_id=new_request_id(request_id))
    if drain_timeout > 0:
        made.drain_timeout.CopyFrom(duration(drain_timeout))
    path = _SERVICE + "DeregisterWorker"
    return Call(path, made.SerializeToString(), _deregistered, timeout, extra=max(drain_timeout, 0.0))


def list_workers(*, page_size: int = 0, timeout: float | None = None) -> Pages[Worker]:
    """Iterates over the workers in the order of their ids."""

    def page(token: str) -> Call[tuple[list[Worker], str]]:
        made = pb.ListWorkersRequest(page_size=page_size, page_token=token)
        return Call(_SERVICE + "ListWorkers", made.SerializeToString(), _listed, timeout)

    return Pages(page)


def _names(names: Iterable[str]) -> list[str]:
    if isinstance(names, str):
        raise invalid("model_names", f"takes a list of names, not a string: [{names!r}]")
    return list(names)


def _registered(data: bytes) -> Worker:
    return Worker(pb.RegisterWorkerResponse.FromString(data).worker)


def _updated(data: bytes) -> Worker:
    return Worker(pb.UpdateWorkerResponse.FromString(data).worker)


def _deregistered(data: bytes) -> bool:
    return pb.DeregisterWorkerResponse.FromString(data).drained


def _listed(data: bytes) -> tuple[list[Worker], str]:
    page = pb.ListWorkersResponse.FromString(data)
    return [Worker(found) for found in page.workers], page.next_page_token
