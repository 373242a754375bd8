"""How a child of `rolltrace up` runs: `python -m rolltrace_client.leash MODULE ARGUMENT...`, a pipe as stdin.

The supervisor holds the other end and writes nothing. When it dies, even by kill -9, the pipe ends, and
the child drains and stops as if it had been sent SIGTERM. So no child outlives its supervisor, on any
system, without polling and without code that runs between fork and exec.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

LONGEST_DRAIN = "ROLLTRACE_DRAIN_TIMEOUT"
GRACE = 5.0


def main() -> None:
    """Run MODULE as `python -m MODULE ARGUMENT...` would."""
    module = sys.argv[1]
    pipe = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the module has a use for it
    threading.Thread(target=_stop_at_end, args=(pipe,), name="leash", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stop_at_end(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(float(os.environ.get(LONGEST_DRAIN, "30")) + GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
