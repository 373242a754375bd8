"""Where a handler runs: the trainer's own loop, or one in a thread of ours. A shell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 10.0


class ModelLoop:
    """A running loop, into which other threads hand coroutines. `given` stays its owner's."""

    def __init__(self, given: asyncio.AbstractEventLoop | None) -> None:
        self._given = given
        self._loop = given or asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises RuntimeError when the given loop can't do anything while this thread waits for it."""
        if self._given is None:
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="rolltrace-model", daemon=True
            )
            self._thread.start()
        else:
            self.check()

    def check(self) -> None:
        """Raises RuntimeError when the loop's own thread is about to wait for the loop."""
        if not self._loop.is_running():
            raise RuntimeError("the loop that was given to Gateway does not run")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return
        if here is self._loop:
            raise RuntimeError(
                "this blocks the loop that serves the handler: use `async with`, or await aclose()"
            )

    @property
    def runs(self) -> bool:
        return self._loop.is_running()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Its result, in another thread than the loop's. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def stop(self) -> None:
        """Ends a loop of ours, and what still runs in it."""
        if self._thread is None:
            return
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE / 2)
    await asyncio.get_running_loop().shutdown_asyncgens()
