"""`rolltrace-proxy`: one proxy process."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from dataclasses import replace

import uvloop

from rolltrace_proxy.server import serve
from rolltrace_proxy.sockets import affordable_calls, files_needed
from rolltrace_proxy.workers import add_configured
from rolltrace_settings.console import configure_logging
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.load import EXIT_CONFIGURATION, load
from rolltrace_settings.open_files import raise_limit
from rolltrace_settings.settings import Settings
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Durability
from rolltrace_store.lmdb_store import StoreOptions, open_store

log = logging.getLogger("rolltrace_proxy")

SWITCH_INTERVAL = 0.0005
"""Seconds a thread waits for the interpreter. The usual 5 ms make a commit in a thread take 10 to 15."""


def store_options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        durability=Durability(settings.durability),
        max_db_size=settings.max_db_size,
        history_cache_size=settings.history_cache_size,
        write_queue_size=settings.write_queue_size,
        min_free_disk=settings.min_free_disk,
    )


def within_limits(settings: Settings) -> Settings:
    """The settings with no more calls than there may be connections for."""
    open_files = raise_limit()
    calls = affordable_calls(open_files)
    if calls >= settings.max_calls:
        return settings
    log.warning(
        "max_calls is lowered from %d to %d, since a process may have only %d files open here: "
        "allow it %d (ulimit -n), or set --max-calls",
        *(settings.max_calls, calls, open_files, files_needed(settings.max_calls)),
    )
    return replace(settings, max_calls=calls)


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; SIGHUP makes it read certificate and tokens again."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = open_store(settings.db_path, store_options(settings), proxy=True)
    try:
        await add_configured(store, settings.workers)
        async with serve(settings, store) as proxy:
            loop.add_signal_handler(signal.SIGHUP, proxy.reload)
            gc.collect()
            gc.freeze()
            log.info("proxy ready on %s, recording to %s", proxy.url, settings.db_path)
            await stop.wait()
            log.info("proxy draining: waiting up to %g s for calls that run", settings.drain_timeout)
    finally:
        await store.close()


def main() -> None:
    settings = load(service="proxy")
    configure_logging(settings.log_level)
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(10_000, 20, 50)
    try:
        uvloop.run(run(within_limits(settings)))
    except SettingsError as error:
        print(f"rolltrace-proxy: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None
    except (OSError, StoreError) as error:
        sys.exit(f"rolltrace-proxy: {error}")


if __name__ == "__main__":
    main()
