"""How a call ends that can't end well: the gateway's own answer, and work that nobody waits for any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from aiohttp import web

from rolltrace_proxy.errors import Fault, Refused


async def clean_up(work: Coroutine[object, object, None], timeout: float) -> None:
    """Awaits work that must be done although the caller is cancelled: it goes on if that happens again."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=timeout)
    for finished in done:
        finished.result()


def refusal(refused: Refused, ids: dict[str, str]) -> web.Response:
    answer = web.Response(status=refused.status, body=refused.body(), headers={**refused.headers(), **ids})
    if refused.fault is Fault.REQUEST_TIMEOUT:  # what comes next would be taken for the rest of its body
        answer.force_close()
    return answer
