"""Which proxies run: each holds a lock on a file in `<path>/proxies/` for as long as it lives.

The kernel drops the lock however the process ends, so a file that can be locked belongs to a dead one.
The file says what the proxy reports: u32 CRC-32 of the rest, u32 length of the text, both big-endian,
and the text, JSON. It is written in place, which costs microseconds; the checksum tells a reader that
it has seen half of a change, and it looks again.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolltrace_store.errors import CorruptError
from rolltrace_store.interface import ProxyReport

FOLDER = "proxies"
_SUFFIX = ".proxy"
_HEADER = struct.Struct(">II")
_LOOKS = 1000


class Presence:
    """This process, as the others see it."""

    def __init__(self, path: Path) -> None:
        folder = path / FOLDER
        folder.mkdir(exist_ok=True)
        self.proxy_id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._file = folder / f"{self.proxy_id}{_SUFFIX}"
        self._said: dict[str, int] | None = None
        made = folder / f"{self.proxy_id}.new"
        self._fd = os.open(made, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.report({})
        os.rename(made, self._file)  # under its name it was never unlocked

    def report(self, in_flight: Mapping[str, int]) -> None:
        """Says how many calls run, by worker_id."""
        if self._said != in_flight:
            self._said = dict(in_flight)
            os.pwrite(self._fd, _encode({"pid": os.getpid(), "in_flight": self._said}), 0)

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        os.close(self._fd)


def live_proxies(path: Path) -> list[ProxyReport]:
    """The proxies that hold their locks. Files of dead ones are removed."""
    seen = ((file, _look(file)) for file in sorted((path / FOLDER).glob(f"*{_SUFFIX}")))
    return [
        ProxyReport(file.stem, report["pid"], report["in_flight"])
        for file, report in seen
        if report is not None
    ]


def _look(file: Path) -> dict[str, Any] | None:
    """What a live proxy reports; None for a dead one, whose file is removed."""
    try:
        fd = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(fd, file)
    else:
        file.unlink(missing_ok=True)
        return None
    finally:
        os.close(fd)


def _read(fd: int, file: Path) -> dict[str, Any]:
    for _ in range(_LOOKS):
        report = _decode(os.pread(fd, os.fstat(fd).st_size, 0))
        if report is not None:
            return report
    raise CorruptError(f"{file} says nothing that can be read")


def _encode(report: dict[str, Any]) -> bytes:
    text = json.dumps(report).encode()
    return _HEADER.pack(zlib.crc32(text), len(text)) + text


def _decode(data: bytes) -> dict[str, Any] | None:
    """None when it was caught in the middle of a change."""
    if len(data) < _HEADER.size:
        return None
    checksum, size = _HEADER.unpack_from(data)
    text = data[_HEADER.size : _HEADER.size + size]
    if not size or len(text) != size or zlib.crc32(text) != checksum:
        return None
    report: dict[str, Any] = json.loads(text)
    return report
