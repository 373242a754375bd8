"""What listens for agents, and knows their connections.

Rules. One timer serves all connections: each says itself what has taken too long. A drain stops listening
and lets every answer say that its connection closes; connections on which nothing runs stay until the end,
so that a request that is already on its way gets an answer rather than a reset.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from email.utils import formatdate

from rolltrace_proxy.http1.common import Common, Handler
from rolltrace_proxy.http1.connection import Connection

BACKLOG = 4096
"""Connections that wait to be taken: the rollouts of a step all begin at once. The system may hold fewer."""
LOOK = 1.0
"""Seconds between looks at the connections."""
PATIENCE = 1.0
"""Seconds that agents have, in the end, to take what was written."""


class Listener:
    """Hands each request to `handle`."""

    def __init__(self, handle: Handler, max_header_size: int) -> None:
        self.common = Common(handle, max_header_size)
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.common.connections)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None, *, shared_port: bool) -> int:
        """Listens; returns the port, which is any free one for 0."""
        loop = asyncio.get_running_loop()
        self._look(loop)
        self._server = await loop.create_server(
            lambda: Connection(self.common, loop),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            reuse_port=shared_port,
        )
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Listens no more."""
        self.common.draining = True
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Closes what is open; nothing may be running."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.common.connections):
            connection.break_off()
        await self._gone()
        for connection in list(self.common.connections):
            connection.break_off(reset=True)
        await self._gone()

    async def _gone(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.common.connections:
                    self.common.all_gone.clear()
                    await self.common.all_gone.wait()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK, self._look, loop)
        self.common.date = formatdate(usegmt=True)
        now = loop.time()
        for connection in list(self.common.connections):
            connection.look(now)
