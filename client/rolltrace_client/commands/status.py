"""`rolltrace status`: how the gateway is."""

from __future__ import annotations

import argparse
from datetime import timedelta

from .arguments import Subparsers, add_command, connect
from .output import print_facts, print_json, size


def register(groups: Subparsers) -> None:
    add_command(groups, "status", "how the gateway is: log, store, workers, proxy", _status)


def _status(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        status = client.status()
    if arguments.json:
        print_json(status)
        return 0
    proxy = "healthy" if status.proxy_healthy else "does not answer its health check"
    used, file, limit = map(
        size, (status.store_used_bytes, status.store_file_bytes, status.store_limit_bytes)
    )
    facts = {
        "control": f"{arguments.control}, version {status.version}",
        "up for": str(timedelta(seconds=int(status.uptime or 0))),
        "proxy": f"{status.proxy_url}, {proxy}",
        "workers": f"{status.worker_count}, {status.healthy_worker_count} healthy",
        "sessions": status.session_count,
        "traces": status.trace_count,
        "subscribers": status.subscriber_count,
        "store": f"{used} used of {limit}, file {file}",
        "log": f"{status.earliest_sequence} to {status.head_sequence}",
        "cursor": str(status.head),
    }
    print_facts(facts)
    return 0
