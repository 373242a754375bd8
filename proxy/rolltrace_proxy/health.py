"""What /health and /health/workers say."""

from __future__ import annotations

from rolltrace.v1 import worker_pb2 as pb
from rolltrace_proxy.workers import Workers

JsonObject = dict[str, object]


def health(workers: Workers, calls: int, *, draining: bool, store_error: str) -> tuple[int, JsonObject]:
    """The HTTP status, and what stands behind it. Without workers the proxy itself is well."""
    status = "draining" if draining else "store_unavailable" if store_error else "ok"
    rows = workers.rows()
    answer: JsonObject = {
        "status": status,
        "calls_in_flight": calls,
        "workers": len(rows),
        "healthy_workers": sum(workers.usable(row) for row in rows),
    }
    if store_error:
        answer["message"] = store_error
    return (200 if status == "ok" else 503), answer


def worker_health(workers: Workers) -> tuple[int, JsonObject]:
    """Each worker as this proxy sees it. 503 when none seems alive."""
    rows = workers.rows()
    listed = [
        {
            **worker_info(row, workers),
            "state": pb.WorkerState.Name(row.state).removeprefix("WORKER_STATE_").lower(),
            "health": pb.WorkerHealth.Name(row.health).removeprefix("WORKER_HEALTH_").lower(),
            "health_message": row.health_message,
            "usable": workers.usable(row),
            "calls_in_flight": workers.in_flight(row.worker_id),
        }
        for row in rows
    ]
    usable = sum(map(workers.usable, rows))
    return (200 if usable else 503), {"workers": listed, "healthy": usable, "total": len(rows)}


def worker_info(row: pb.Worker, workers: Workers) -> JsonObject:
    """A WorkerInfo of rLLM's gateway, whose weight is a whole number and whose model is one."""
    return {
        "worker_id": row.worker_id,
        "url": row.url,
        "api_path": row.api_path,
        "model_name": row.model_names[0] if row.model_names else None,
        "weight": max(1, round(row.weight or 1)),
        "healthy": workers.usable(row),
        "active_requests": workers.in_flight(row.worker_id),
    }
