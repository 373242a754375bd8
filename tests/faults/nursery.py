"""Starts services in a few milliseconds: it has imported them already, and forks.

Usage: python -m tests.faults.nursery. Each line on stdin is an Order as a JSON object; the answer is the pid
of a process that does what `python -m MODULE ARGUMENT...` does. It is a process like any other: with its own
memory and sockets, and nothing that outlives a kill -9. When stdin ends, all that still run are killed.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass, field

from tests.faults import clock

MAINS = {
    "rolltrace_proxy": "rolltrace_proxy.__main__",
    "rolltrace_control": "rolltrace_control.__main__",
    "rolltrace_client": "rolltrace_client.__main__",
    "rolltrace_demo": "rolltrace_demo.__main__",
    "tests.faults.subscriber": "tests.faults.subscriber",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to start. Its output goes to the end of `log`.

    `clock` is the file of a clock that a test sets (clock.py), `address_space` a limit in bytes.
    """

    module: str
    arguments: list[str]
    log: str
    environment: dict[str, str] = field(default_factory=dict[str, str])
    clock: str = ""
    address_space: int = 0


def main() -> None:
    mains = {module: importlib.import_module(name).main for module, name in MAINS.items()}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the kernel does
    while line := sys.stdin.readline():
        order = Order(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            _become(order)
            sys.exit(mains[order.module]())
        print(pid, flush=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _become(order: Order) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    os.environ.update(order.environment)
    sys.argv = [order.module, *order.arguments]
    if order.clock:
        clock.install(order.clock)
    if order.address_space:
        resource.setrlimit(resource.RLIMIT_AS, (order.address_space, order.address_space))


if __name__ == "__main__":
    main()
