"""Opens the LMDB environment: its files, its tables, its format, its epoch and its secret.

Rules:

- LMDB 0.9, of the two that py-lmdb bundles: its files are those that every other LMDB tool reads, it has
  run for a decade, and nothing of 1.0 is needed. The two cannot read each other's files.
- One sparse map of max_db_size, the same in every process: growing it at run time would break readers.
- Never writemap: with it, a full disk kills the process.
- `process` leaves the sync to the operating system, `power` syncs every commit.
- Who begins a write transaction has passed the gate (gate.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from rolltrace_store.errors import ForeignEnvironmentError, StoreError
from rolltrace_store.gate import Gate
from rolltrace_store.interface import Durability
from rolltrace_store.rows import Database, MutableRows, Rows, Transaction
from rolltrace_store.schema import FORMAT_VERSION, TABLES, meta

LMDB_MAJOR = 0
MAX_READERS = 512
MAX_RESERVE = 1 << 30

_NOT_LMDB = (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError, lmdb.IncompatibleError)


@dataclass(frozen=True, slots=True)
class Environment:
    """An open environment. `databases` are the tables' handles by name."""

    lmdb: lmdb.Environment
    databases: Mapping[str, Database]
    path: Path
    epoch: str
    secret: bytes = field(repr=False)
    max_size: int
    page_size: int
    gate: Gate

    @property
    def reserve(self) -> int:
        """Bytes that recording leaves free: a deletion changes pages, and needs room for their copies."""
        return min(self.max_size // 8, MAX_RESERVE)

    def page_bytes(self) -> int:
        """Bytes of all pages that were ever used: no more than these are in use."""
        return (self.lmdb.info()["last_pgno"] + 1) * self.page_size

    def used_bytes(self, txn: Transaction) -> int:
        """Bytes of the tables' pages."""
        return sum(Rows(txn, self.databases[table.name], table).used_bytes() for table in TABLES)

    def room(self, txn: Transaction, enough: int) -> int:
        """Bytes that can be recorded still; free pages are left out while `enough` were never used."""
        limit = self.max_size - self.reserve
        unused = limit - self.page_bytes()
        return unused if unused >= enough else limit - self.used_bytes(txn)

    def file_bytes(self) -> int:
        return os.stat(self.path / "data.mdb").st_size

    def close(self) -> None:
        with contextlib.suppress(lmdb.Error):  # what was promised is kept; this is for a power cut
            self.lmdb.sync(True)
        self.gate.close()
        self.lmdb.close()


def open_environment(path: Path, durability: Durability, max_size: int) -> Environment:
    """Opens it, or makes it where there is none.

    Raises ForeignEnvironmentError when the path holds something else, StoreError when it can't be opened.
    """
    with contextlib.ExitStack() as opened:
        environment = _open(path, durability, max_size)
        opened.callback(environment.close)
        try:
            gate = Gate(path)
            opened.callback(gate.close)
            environment.reader_check()
            with gate.passed(), environment.begin(write=True) as txn:
                _refuse_foreign(environment, txn, path)
                databases = {table.name: environment.open_db(table.name.encode(), txn) for table in TABLES}
                epoch, secret = _identify(txn, databases)
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"{path} cannot be made ready: {error}") from error
        opened.pop_all()
        page_size = environment.stat()["psize"]
        return Environment(environment, databases, path, epoch, secret, max_size, page_size, gate)


def _open(path: Path, durability: Durability, max_size: int) -> lmdb.Environment:
    synced = durability is Durability.POWER
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lmdb.open(
            str(path),
            map_size=max_size,
            mode=0o600,
            max_dbs=len(TABLES),
            max_readers=MAX_READERS,
            max_spare_txns=2,
            metasync=synced,
            sync=synced,
            lib_version=LMDB_MAJOR,
        )
    except _NOT_LMDB as error:
        raise ForeignEnvironmentError(
            f"{path} does not hold a Rolltrace environment ({error}); give another db_path"
        ) from error
    except FileExistsError as error:
        raise ForeignEnvironmentError(f"{path} is a file; db_path names a directory") from error
    except (lmdb.MemoryError, MemoryError) as error:
        raise StoreError(
            f"{path}: no address space for a map of {max_size} bytes; lower max_db_size or lift `ulimit -v`"
        ) from error
    except lmdb.ReadersFullError as error:
        raise readers_error() from error
    except (lmdb.Error, OSError) as error:
        raise StoreError(
            f"{path} cannot be opened ({error}): db_path needs a folder that this process may write to"
        ) from error


def readers_error() -> StoreError:
    """No reader can begin. Running services free the slots of dead ones now and then."""
    return StoreError(
        f"all {MAX_READERS} reader slots are taken: end the processes that keep reads of the environment open"
    )


def _refuse_foreign(environment: lmdb.Environment, txn: lmdb.Transaction[bytes], path: Path) -> None:
    """Tells a new environment and ours from another program's or another format."""
    if txn.stat()["entries"] == 0:
        return
    try:
        database = environment.open_db(meta.NUMBERS.name.encode(), txn, create=False)
    except lmdb.Error:
        found = None
    else:
        found = Rows(txn, database, meta.NUMBERS).get(meta.FORMAT)
    if found is None:
        raise ForeignEnvironmentError(f"{path} holds another program's data; give another db_path")
    if found != FORMAT_VERSION:
        age, remedy = ("newer", "upgrade Rolltrace") if found > FORMAT_VERSION else ("older", "migrate it")
        raise ForeignEnvironmentError(
            f"{path} was written by a {age} Rolltrace (format {found}, this one reads {FORMAT_VERSION}); "
            f"{remedy} or give another db_path"
        )


def _identify(txn: lmdb.Transaction[bytes], databases: Mapping[str, Database]) -> tuple[str, bytes]:
    """The epoch and the secret; made with the format's number in a new environment."""
    texts = MutableRows(txn, databases[meta.TEXTS.name], meta.TEXTS)
    keys = MutableRows(txn, databases[meta.SECRETS.name], meta.SECRETS)
    epoch, secret = texts.get(meta.EPOCH), keys.get(meta.SECRET)
    if epoch is None or secret is None:
        epoch, secret = secrets.token_hex(16), secrets.token_bytes(meta.SECRET_SIZE)
        texts.put(meta.EPOCH, epoch)
        keys.put(meta.SECRET, secret)
        MutableRows(txn, databases[meta.NUMBERS.name], meta.NUMBERS).put(meta.FORMAT, FORMAT_VERSION)
    return epoch, secret
