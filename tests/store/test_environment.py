"""What open_store accepts, and what it refuses without touching it."""

from __future__ import annotations

import struct
from pathlib import Path

import lmdb
import pytest

from rolltrace_store import ForeignEnvironmentError, StoreError, open_store
from rolltrace_store.schema import FORMAT_VERSION
from tests.store.processes import options


async def make(path: Path) -> str:
    store = open_store(path, options())
    epoch = (await store.read(lambda view: view.log_state())).epoch
    await store.close()
    return epoch


def put(path: Path, table: bytes | None, key: bytes, value: bytes, lib_version: int = 0) -> None:
    """Changes an environment behind the store's back."""
    with lmdb.open(str(path), max_dbs=1, lib_version=lib_version) as environment:
        database = environment.open_db(table) if table else None
        with environment.begin(write=True) as txn:
            txn.put(key, value, db=database)


async def test_the_epoch_stays_and_is_another_elsewhere(tmp_path: Path) -> None:
    epoch = await make(tmp_path / "a/b")
    assert await make(tmp_path / "a/b") == epoch
    assert await make(tmp_path / "c") != epoch


@pytest.mark.parametrize(("version", "word"), [(FORMAT_VERSION + 1, "newer"), (FORMAT_VERSION - 1, "older")])
async def test_another_format_is_refused(path: Path, version: int, word: str) -> None:
    await make(path)
    put(path, b"meta", b"format", struct.pack(">Q", version))
    with pytest.raises(ForeignEnvironmentError, match=f"{word} Rolltrace .format {version}, this one reads"):
        open_store(path, options())


@pytest.mark.parametrize("table", [None, b"other", b"meta"])
def test_another_programs_environment_is_refused_and_left_alone(path: Path, table: bytes | None) -> None:
    path.mkdir()
    put(path, table, b"meta" if table is None else b"key", b"value")
    with pytest.raises(ForeignEnvironmentError, match="another program"):
        open_store(path, options())
    with lmdb.open(str(path), max_dbs=1) as environment, environment.begin() as txn:
        assert txn.stat()["entries"] == 1


def test_files_of_lmdb_1_are_refused(path: Path) -> None:
    path.mkdir()
    put(path, None, b"key", b"value", lib_version=1)
    with pytest.raises(ForeignEnvironmentError, match="does not hold a Rolltrace environment"):
        open_store(path, options())


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_other_bytes_are_refused_and_left_alone(path: Path, count: int) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"something else" * count)
    with pytest.raises(ForeignEnvironmentError, match="does not hold a Rolltrace environment"):
        open_store(path, options())
    assert (path / "data.mdb").read_bytes() == b"something else" * count


def test_a_file_is_refused(path: Path) -> None:
    path.write_text("")
    with pytest.raises(ForeignEnvironmentError, match="is a file"):
        open_store(path, options())
    with pytest.raises(StoreError, match=r"cannot be opened .*: db_path needs a folder"):
        open_store(path / "db", options())


def test_a_folder_in_the_datas_place_is_refused(path: Path) -> None:
    (path / "data.mdb").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot be opened .*: db_path needs a folder"):
        open_store(path, options())


async def test_one_process_opens_a_path_once(path: Path) -> None:
    store = open_store(path, options())
    with pytest.raises(StoreError):
        open_store(path, options())
    await store.close()
    await make(path)
