"""What a worker becomes when it is registered, updated or checked. Decisions only.

An api_key is taken in and never shown.
"""

from __future__ import annotations

import math

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from rolltrace.v1 import worker_pb2 as pb
from rolltrace.v1.worker_service_pb2 import UpdateWorkerRequest
from rolltrace_settings.settings import WorkerSetting
from rolltrace_store.errors import AlreadyExistsError, InvalidArgumentError
from rolltrace_store.names import check_worker_id
from rolltrace_store.worker_tls import check_ca_pem
from rolltrace_store.worker_url import take_apart, worker_id_of

ENGINES = ("", "vllm", "sglang", "llamacpp", "openai")
MAX_WEIGHT = 1000.0
DEFAULT_API_PATH = "/v1"
OUTPUT_ONLY = ("health", "health_message", "health_change_time", "register_time", "detected_engine")
UPDATABLE = ("weight", "state", "model_names", "api_key", "api_path", "engine", "ca_pem")


def asked_worker(given: pb.Worker) -> pb.Worker:
    """A worker as it was asked for, with what was left out filled in; its state MAY be UNSPECIFIED.

    Raises InvalidArgumentError.
    """
    for descriptor, _ in given.ListFields():
        if descriptor.name in OUTPUT_ONLY:
            name = f"worker.{descriptor.name}"
            raise InvalidArgumentError(name, f"{name} is output only; leave it unset")
    url, api_path = take_apart(given.url)
    worker = pb.Worker(
        worker_id=given.worker_id or worker_id_of(url),
        url=url,
        weight=given.weight,
        state=given.state,
        model_names=given.model_names,
        api_path=given.api_path or api_path,
        api_key=given.api_key,
        engine=given.engine,
        ca_pem=given.ca_pem,
    )
    check_worker_id(worker.worker_id)
    _complete(worker)
    return worker


def registered(asked: pb.Worker, known: pb.Worker | None, now: Timestamp) -> pb.Worker:
    """`asked` as it is stored, given what is stored under its id.

    What is not asked for stays as it is known: state, engine and health. Raises AlreadyExistsError.
    """
    worker = pb.Worker()
    worker.CopyFrom(asked)
    if known is None:
        worker.state = asked.state or pb.WORKER_STATE_ACTIVE
        worker.health = pb.WORKER_HEALTH_UNKNOWN
        worker.register_time.CopyFrom(now)
        return worker
    if known.url != asked.url:
        raise AlreadyExistsError(
            "worker",
            asked.worker_id,
            f"worker {asked.worker_id!r} is at {known.url}: deregister it, or give another worker_id",
        )
    FieldMask(paths=OUTPUT_ONLY).MergeMessage(known, worker)
    worker.state = asked.state or known.state
    worker.engine = asked.engine or known.engine
    return worker


def from_setting(setting: WorkerSetting, ca_pem: str = "") -> pb.Worker:
    """The worker that an entry of `workers:` asks for; `ca_pem` stands in its ca_file.

    Raises InvalidArgumentError.
    """
    return asked_worker(
        pb.Worker(
            worker_id=setting.worker_id,
            url=setting.url,
            model_names=[setting.model_name] if setting.model_name else [],
            weight=setting.weight,
            api_path=setting.api_path,
            api_key=setting.api_key,
            engine=setting.engine,
            ca_pem=ca_pem,
        )
    )


def check_update(request: UpdateWorkerRequest) -> None:
    """Raises InvalidArgumentError unless the request names a worker and fields that can change."""
    check_worker_id(request.worker.worker_id)
    if not request.update_mask.paths:
        raise InvalidArgumentError(
            "update_mask", f"update_mask names no field; name some of {', '.join(UPDATABLE)}"
        )
    for path in request.update_mask.paths:
        if path not in UPDATABLE:
            raise InvalidArgumentError(
                "update_mask", f"{path!r} cannot be updated; these can: {', '.join(UPDATABLE)}"
            )
    if "state" in request.update_mask.paths and not request.worker.state:
        raise InvalidArgumentError("worker.state", "worker.state is in the mask, but not set")


def updated(known: pb.Worker, request: UpdateWorkerRequest) -> pb.Worker:
    """`known` with the fields of the mask changed. Raises InvalidArgumentError."""
    worker = pb.Worker()
    worker.CopyFrom(known)
    request.update_mask.MergeMessage(request.worker, worker, replace_repeated_field=True)
    _complete(worker)
    return worker


def draining(known: pb.Worker) -> pb.Worker:
    worker = pb.Worker()
    worker.CopyFrom(known)
    worker.state = pb.WORKER_STATE_DRAINING
    return worker


def shown(worker: pb.Worker) -> pb.Worker:
    """The worker as anybody may see it."""
    public = pb.Worker()
    public.CopyFrom(worker)
    public.ClearField("api_key")
    return public


def _complete(worker: pb.Worker) -> None:
    """Fills in defaults, and raises InvalidArgumentError for values that are not allowed."""
    if not (math.isfinite(worker.weight) and 0 <= worker.weight <= MAX_WEIGHT):
        raise InvalidArgumentError(
            "worker.weight", f"worker.weight {worker.weight} is not between 0 and {MAX_WEIGHT:.0f}"
        )
    if worker.state not in (
        pb.WORKER_STATE_UNSPECIFIED,
        pb.WORKER_STATE_ACTIVE,
        pb.WORKER_STATE_CORDONED,
    ):
        raise InvalidArgumentError(
            "worker.state", "worker.state is ACTIVE or CORDONED; DeregisterWorker drains a worker"
        )
    if worker.engine not in ENGINES:
        raise InvalidArgumentError(
            "worker.engine", f"worker.engine {worker.engine!r} is not one of vllm, sglang, llamacpp, openai"
        )
    if not (worker.api_key.isascii() and worker.api_key.isprintable()):
        raise InvalidArgumentError("worker.api_key", "worker.api_key holds what no header field can hold")
    check_ca_pem(worker.ca_pem)
    path = worker.api_path.rstrip("/") if worker.api_path else DEFAULT_API_PATH
    if path and not path.startswith("/"):
        raise InvalidArgumentError("worker.api_path", f"worker.api_path {path!r} does not begin with a slash")
    worker.api_path = path or "/"
    worker.weight = worker.weight or 1.0
