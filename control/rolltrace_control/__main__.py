"""`rolltrace-control`: settings, store, server, signals. A shell."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

import uvloop

from rolltrace_control.addresses import authority
from rolltrace_control.edge import Edge
from rolltrace_control.server import ListenError, serve
from rolltrace_settings.console import configure_logging
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.load import EXIT_CONFIGURATION, load
from rolltrace_settings.open_files import raise_limit
from rolltrace_settings.settings import Settings
from rolltrace_settings.version import installed_version
from rolltrace_store import Durability, StoreError, StoreOptions, open_store

SWITCH_INTERVAL = 0.0005
"""Seconds for which a thread keeps the interpreter. A commit in the writer's thread gives it up several
times; with the usual 5 ms, a busy loop would make each commit last 10 ms."""

log = logging.getLogger("rolltrace_control")


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; SIGHUP makes it read certificate and tokens again.

    Raises StoreError, ListenError, SettingsError.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    options = StoreOptions(
        durability=Durability(settings.durability),
        max_db_size=settings.max_db_size,
        history_cache_size=settings.history_cache_size,
        write_queue_size=settings.write_queue_size,
        min_free_disk=settings.min_free_disk,
    )
    store = open_store(settings.db_path, options)
    try:
        edge = Edge(settings, await store.read(lambda view: view.secret()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, edge.reload)
        async with serve(settings, store, edge) as port:
            address = authority(settings.control_host, port)
            log.info("rolltrace-control %s serves %s at %s", installed_version(), settings.db_path, address)
            await stopped.wait()
            log.info("shutting down; streams end now, calls within %g s", settings.drain_timeout)
    finally:
        await store.close()


def main(argv: Sequence[str] | None = None) -> None:
    """The console script. Exits with 1 when it cannot start."""
    settings = load(argv, service="control")
    configure_logging(settings.log_level)
    sys.setswitchinterval(SWITCH_INTERVAL)
    raise_limit()
    try:
        uvloop.run(run(settings))
    except SettingsError as error:
        print(f"rolltrace-control: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None
    except (StoreError, ListenError) as error:
        print(f"rolltrace-control: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
