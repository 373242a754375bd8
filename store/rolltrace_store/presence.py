"""Which proxies run: each holds a lock on a file in `<path>/proxies/` for as long as it lives.

The kernel drops the lock however the process ends, so a file that can be locked belongs to a dead one.
What a proxy reports stands in a file beside it (`.json`), replaced as a whole, so that no reader sees
half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from rolltrace_store.interface import ProxyReport

FOLDER = "proxies"
_LOCK = ".lock"


class Presence:
    """This process, as the others see it."""

    def __init__(self, path: Path) -> None:
        folder = path / FOLDER
        folder.mkdir(exist_ok=True)
        self.proxy_id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._report = folder / f"{self.proxy_id}.json"
        self._lock_file = folder / f"{self.proxy_id}{_LOCK}"
        self._said: dict[str, int] | None = None
        self.report({})
        made = folder / f"{self.proxy_id}.new"
        self._fd = os.open(made, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(made, self._lock_file)  # under its name it was never unlocked

    def report(self, in_flight: Mapping[str, int]) -> None:
        """Says how many calls run, by worker_id."""
        if self._said == in_flight:
            return
        self._said = dict(in_flight)
        text = json.dumps({"pid": os.getpid(), "in_flight": self._said})
        made = self._report.with_suffix(".tmp")
        made.write_text(text)
        os.replace(made, self._report)

    def close(self) -> None:
        for file in (self._lock_file, self._report):
            file.unlink(missing_ok=True)
        os.close(self._fd)


def live_proxies(path: Path) -> list[ProxyReport]:
    """The proxies that hold their locks. Files of dead ones are removed."""
    reports: list[ProxyReport] = []
    for lock_file in sorted((path / FOLDER).glob(f"*{_LOCK}")):
        report = lock_file.with_suffix(".json")
        if not _is_locked(lock_file):
            for file in (report, lock_file):
                file.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError):  # it has just gone in good order
            said = json.loads(report.read_text())
            reports.append(ProxyReport(lock_file.stem, said["pid"], said["in_flight"]))
    return reports


def _is_locked(file: Path) -> bool:
    try:
        fd = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
