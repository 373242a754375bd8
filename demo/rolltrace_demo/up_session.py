"""`rolltrace up`, with the demo worker when no worker is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rolltrace_client.commands.up import keep_up
from rolltrace_client.probes import proxy_is_healthy
from rolltrace_client.supervisor import Child
from rolltrace_settings.load import load
from rolltrace_settings.settings import WorkerSetting

HOST = "127.0.0.1"
# The same from run to run where it is free: the environment remembers its workers.
USUAL_PORT = 9092
LAST_STAGE = 2

NOTICE = """\
No worker is named, so calls go to the demo worker, a toy model in a process of its own: {url}
For real ones: make run WORKERS="http://host:8000 http://other:8000"
"""


def up(argv: Sequence[str]) -> int:
    """Run until a signal comes; the exit status."""
    settings = load(argv, service="up")
    if settings.workers:
        return keep_up(settings)
    port = _free_port()
    url = f"http://{HOST}:{port}"
    print(NOTICE.format(url=url), flush=True)
    worker = Child(
        "demo worker",
        "rolltrace_demo",
        os.environ,
        LAST_STAGE,
        partial(proxy_is_healthy, HOST, port),
        arguments=("worker", "--host", HOST, "--port", str(port)),
    )
    return keep_up(replace(settings, workers=(WorkerSetting(url),)), [worker])


def _free_port() -> int:
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {HOST}")
