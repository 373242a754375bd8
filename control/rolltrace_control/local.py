"""The services for the proxies of the same environment, which answer REST calls with them. A shell.

On a Unix socket, without TLS and without a token: who reaches it can read the environment anyway. A control
service that can't listen there serves trainers all the same.
"""

from __future__ import annotations

import logging
import os

import grpc.aio

from rolltrace_store.control_socket import ControlSocket

log = logging.getLogger(__name__)


def bind(server: grpc.aio.Server, socket: ControlSocket) -> None:
    """Binds the server, in place of what a service that died left there."""
    target = socket.target()
    try:
        socket.make_private()
        if target is None or not server.add_insecure_port(target):
            raise OSError("no address of a Unix socket may be so long")
        os.chmod(socket.path, 0o600)
    except (OSError, RuntimeError) as error:
        log.warning("proxies can't answer REST calls: cannot listen at %s: %s", socket.path, error)
