"""The services as a child process of the trainer: started, heard, stopped. A shell.

Rules. The trainer's signals, loop and descriptors stay its own: the child has its own process group and
inherits two pipes alone. It ends when the pipe to its stdin does, even by kill -9 of the trainer (leash.py).
A thread hands what it says on stderr to the trainer's logging, and keeps the last lines for an error.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from rolltrace_client.commands.up import GRACE, environment_of
from rolltrace_embedded.errors import GatewayError
from rolltrace_embedded.log_lines import read_line
from rolltrace_settings.settings import Settings

KEPT_LINES = 30
STAGES = 2
"""Those of `rolltrace up`, each with its own time to drain: the proxies, the control service."""
IMPATIENCE = 0.2

log = logging.getLogger("rolltrace.gateway")


class Services:
    """One `rolltrace up`. `settings` name the ports once it is up; `folder` goes when it ends."""

    def __init__(self, settings: Settings, folder: str) -> None:
        self.settings = settings
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener: threading.Thread | None = None
        self._is_up = False

    def start(self, timeout: float) -> None:
        """Returns once both services are healthy. Raises GatewayError."""
        report = self._spawn()
        try:
            line = b"".join(_read_line(report, time.monotonic() + timeout))
        finally:
            os.close(report)
        if not line.endswith(b"\n"):
            raise GatewayError(self._why_not_up(timeout))
        port, control_port = json.loads(line)
        self.settings = replace(self.settings, port=port, control_port=control_port)
        self._is_up = True

    def stop(self, *, drain: bool = True) -> None:
        """Calls that run may end within drain_timeout, unless `drain` is False or this is interrupted."""
        process, self._is_up = self._process, False
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STAGES * (self.settings.drain_timeout + GRACE) + GRACE if drain else IMPATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """What still runs is told a second time, upon which `up` kills its children, and then is killed."""
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()
        process.wait()
        self.let_go()
        if self._listener is not None:
            self._listener.join(GRACE)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Ends a start that another thread waits for."""
        if self._process is not None:
            self._process.terminate()

    def let_go(self) -> None:
        """Closes this process's end of the leash: all that a fork of the trainer has to do."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _spawn(self) -> int:
        """Starts the child; the descriptor that it reports on."""
        said, says = os.pipe()
        report, reports = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "rolltrace_client.leash"),
                    *("rolltrace_embedded.up", str(reports), self._folder),
                ],
                stdin=subprocess.PIPE,
                stdout=says,
                stderr=says,
                env=environment_of(self.settings, os.environ),
                pass_fds=(reports,),
                process_group=0,
                bufsize=0,
            )
        except BaseException:
            os.close(said)
            os.close(report)
            raise
        finally:
            os.close(says)
            os.close(reports)
        self._listener = threading.Thread(
            target=self._listen, args=(self._process, said), name="rolltrace-log", daemon=True
        )
        self._listener.start()
        return report

    def _listen(self, process: subprocess.Popen[bytes], said: int) -> None:
        with open(said, encoding="utf-8", errors="backslashreplace") as lines:
            for line in lines:
                self._said.append(line.rstrip("\n"))
                level, said_now = read_line(self._said[-1])
                log.log(level, "%s", said_now)
        status = process.wait()
        if self._is_up:
            log.error("the services have ended with status %d; calls of agents fail", status)

    def _why_not_up(self, timeout: float) -> str:
        process = self._process
        assert process is not None
        assert self._listener is not None
        try:
            status = process.wait(1.0)
        except subprocess.TimeoutExpired:
            what = f"were not healthy within start_timeout, {timeout:g} s"
            self.stop(drain=False)
        else:
            what = f"did not come up, status {status}"
            self._listener.join(GRACE)
        said = "\n".join(f"  {line}" for line in self._said) or "  (they said nothing)"
        return f"the services {what}:\n{said}"


def _read_line(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Pieces up to a line's end, the pipe's end, or the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(descriptor, 4096)
            yield piece
            if not piece or piece.endswith(b"\n"):
                return
