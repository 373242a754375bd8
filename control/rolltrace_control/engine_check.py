"""Asks a worker which engine it runs; engine_rules tells it from the answers. A shell."""

from __future__ import annotations

import logging

from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control.engine_rules import PATHS, UNKNOWN, doubts, engine_of, listing_of, object_of
from rolltrace_control.http_check import Answer, answer_of

log = logging.getLogger(__name__)


async def ask_engine(worker: Worker, timeout: float) -> str | None:
    """The engine that a worker says it is, "" when it does not tell, None when it is to be asked again.

    `timeout` seconds for each question, of which none follows one that was not answered. Logs what does not
    fit to how it was registered.
    """
    answer = await _answer(worker, f"{worker.api_path.rstrip('/')}/models", timeout)
    if answer is None:
        return None
    listing = listing_of(*answer)
    told = engine_of(listing) if listing and listing.owners else await _told_by_path(worker, timeout)
    for doubt in doubts(worker.engine, told, list(worker.model_names), listing):
        log.warning("worker %s: %s", worker.worker_id, doubt)
    return told


async def _told_by_path(worker: Worker, timeout: float) -> str:
    for path, engine, is_it in PATHS:
        answer = await _answer(worker, path, timeout)
        if answer is None:
            break
        if is_it(object_of(*answer)):
            return engine
    return UNKNOWN


async def _answer(worker: Worker, path: str, timeout: float) -> Answer | None:
    """None when there was none, or one of a server that is not ready."""
    url = f"{worker.url}{path}"
    try:
        answer = await answer_of(url, worker.ca_pem, worker.api_key, connect=timeout / 2, total=timeout)
    except (OSError, ValueError):  # TimeoutError is an OSError
        return None
    return answer if answer.status < 500 else None
