"""A compacting copy of an environment, while services write to it.

Rules: the copy appears under its name only when it is whole and synced; an existing target is never
touched; a failed copy leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import lmdb

from rolltrace_store import schema
from rolltrace_store.errors import StoreError, StoreFullError
from rolltrace_store.inspection import FILE, LmdbSnapshot, snapshot

_SPARE = 1 << 20


@dataclass(frozen=True, slots=True)
class Compaction:
    """Sizes of the files, in bytes."""

    before: int
    after: int


def compact(path: Path, target: Path) -> Compaction:
    """Copies the environment at `path` into the new directory `target`, without its free pages.

    The copy keeps the epoch: it is meant to take the original's place. Raises StoreError when `target`
    exists, StoreFullError when there is no room for it.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; name a path that does not")
    with snapshot(path) as source:
        needed = sum(source.used_bytes(table.name) for table in schema.TABLES) + _SPARE
        parent = target.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(parent).free) < needed:
            raise StoreFullError(f"the copy needs {needed} bytes, but {parent} has {free} free")
        _copy(source, target)
        return Compaction(source.file_bytes(), (target / FILE).stat().st_size)


def _copy(source: LmdbSnapshot, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    try:
        partial.mkdir(mode=0o700)
    except FileExistsError as error:
        raise StoreError(f"{partial} is of another copy, running or broken off; remove it") from error
    try:
        source.environment.copy(str(partial), compact=True, txn=source.txn)
        (partial / FILE).chmod(0o600)
        _sync(partial / FILE)
        _sync(partial)
        partial.rename(target)
        _sync(target.absolute().parent)
    except lmdb.Error as error:
        raise StoreFullError(f"the copy failed: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
