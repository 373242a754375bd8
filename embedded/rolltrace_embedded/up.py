"""`rolltrace up` as a trainer's child: `python -m rolltrace_client.leash rolltrace_embedded.up FD FOLDER`.

Its settings are in its environment. Once all is up, a line of JSON on the file descriptor FD names the ports.
The leash ends it with the trainer. It removes FOLDER, unless that is "": a trainer that was killed can't.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace

from rolltrace_client.commands.up import keep_up
from rolltrace_settings.load import load
from rolltrace_settings.settings import Settings


def main() -> int:
    descriptor, folder = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(descriptor, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the trainer's thread may have blocked what stops this
    try:
        with ExitStack() as reserved:
            settings = _with_ports(load([], service="up"), reserved)
            return keep_up(settings, when_up=lambda up: _report(descriptor, up, reserved))
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _with_ports(settings: Settings, reserved: ExitStack) -> Settings:
    """Port 0 becomes a free one, which nobody else is given until the services listen there."""
    port = settings.port or _reserve(settings.host, reserved)
    return replace(
        settings, port=port, control_port=settings.control_port or _reserve(settings.control_host, reserved)
    )


def _reserve(host: str, reserved: ExitStack) -> int:
    """A port that is bound and does not listen: others may listen there who say, as servers do, that they
    reuse addresses, but the system chooses it for nobody."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = reserved.enter_context(socket.socket(family, kind, protocol))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(address)
    return int(held.getsockname()[1])


def _report(descriptor: int, settings: Settings, reserved: ExitStack) -> None:
    reserved.close()
    with open(descriptor, "w", encoding="ascii") as pipe:
        pipe.write(json.dumps([settings.port, settings.control_port]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
