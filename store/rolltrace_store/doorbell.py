"""Lets other processes hear a commit at once: a datagram to every socket in `<path>/bells/`.

A ring says nothing but "look". A lost one costs time, never data, since listeners look by themselves
now and then. Rules: a ringer never waits; sockets whose owner died are removed by whoever finds out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from pathlib import Path

FOLDER = "bells"
_MAX_ADDRESS = 100
_RACY_NS = 50_000_000
"""A folder's time has the kernel's tick as its grain: a list made so soon after a change may be old."""


class Folder:
    """A folder of sockets in that of the environment, with addresses short enough for the kernel."""

    def __init__(self, path: Path, name: str = FOLDER) -> None:
        self.path = path / name
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._fd: int | None = None
        self._prefix: str | None = str(self.path)
        if len(os.fsencode(self._prefix)) > _MAX_ADDRESS - 20:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            self._prefix = f"/proc/self/fd/{self._fd}" if os.path.isdir("/proc/self/fd") else None

    def address(self, name: str) -> str | None:
        """The address of a socket; None where none is short enough."""
        return None if self._prefix is None else f"{self._prefix}/{name}"

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Ringer:
    """Rings every bell; from one thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._names: list[str] = []
        self._listed = -1

    def ring(self) -> None:
        for name in self._bells():
            address = self._folder.address(name)
            if address is None:
                continue
            try:
                self._socket.sendto(b"\0", address)
            except BlockingIOError:
                pass  # it has rings enough to hear
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(OSError):
                    os.unlink(self._folder.path / name)
            except OSError:
                pass  # what is not a socket, or is not ours to ring

    def _bells(self) -> list[str]:
        try:
            changed = os.stat(self._folder.path).st_mtime_ns
            if changed != self._listed:
                self._names = os.listdir(self._folder.path)
                self._listed = changed if time.time_ns() - changed > _RACY_NS else -1
        except OSError:
            self._names = []
        return self._names

    def close(self) -> None:
        self._socket.close()


class Bell:
    """Hears rings on the event loop that made it. While nobody waits it takes no notice of them: they fill
    the socket, and the first to wait is woken at once."""

    def __init__(self, folder: Folder) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._file = folder.path / name
        self.audible = self._bind(folder.address(name))

    def _bind(self, address: str | None) -> bool:
        """Whether others can ring this bell."""
        if address is None:
            return False
        try:
            self._socket.bind(address)
        except OSError:
            return False
        return True

    async def heard(self, timeout: float) -> None:
        """Returns at the next ring, or after `timeout` seconds."""
        waiter = self._loop.create_future()
        if self.audible and not self._waiters:
            self._loop.add_reader(self._socket.fileno(), self._rung)
        self._waiters.add(waiter)
        timer = self._loop.call_later(timeout, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
            self._rest()

    def _rest(self) -> None:
        if self.audible and not self._waiters and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    def _rung(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(16):
                pass
        self.wake()

    def wake(self) -> None:
        """Wakes all who wait."""
        for waiter in self._waiters:
            _wake(waiter)

    def close(self) -> None:
        if self.audible:
            self._loop.remove_reader(self._socket.fileno())
            self._file.unlink(missing_ok=True)
        self._socket.close()
        self.wake()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
