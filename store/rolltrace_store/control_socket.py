"""Where the control service listens for the proxies of its environment: a Unix socket in `<path>/control/`.

Who may connect to it may do all that control does, unasked; so the folder is its owner's alone, as the
environment's files are, whatever the socket's own mode.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from rolltrace_store.doorbell import Folder

FOLDER = "control"
NAME = "grpc.sock"


class ControlSocket:
    """The address of an environment's socket, usable until `close`. `path` says it to people."""

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path, FOLDER)
        self.path = self._folder.path / NAME

    def target(self) -> str | None:
        """As gRPC wants it; None where the kernel takes no name so long."""
        address = self._folder.address(NAME)
        return None if address is None else f"unix:{quote(address)}"

    def make_private(self) -> None:
        """For whoever listens there. Raises OSError."""
        os.chmod(self._folder.path, 0o700)

    def close(self) -> None:
        self._folder.close()
