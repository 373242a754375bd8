"""An environment of another format, or a file that is none: refused in one clear line, and left as it was."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from rolltrace_store.schema import FORMAT_VERSION
from tests.faults.processes import Child, Pair, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import watched


def digests(folder: Path) -> dict[str, str]:
    """What the environment's data is made of; LMDB's lock file is no data."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "lock.mdb"]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def says(child: Child) -> str:
    """What it logs, once it has ended by itself."""
    child.start()
    child.wait()
    return child.log.read_text()


def set_format(db_path: Path, version: int) -> None:
    with lmdb.open(str(db_path), max_dbs=1, lib_version=0) as environment:
        table = environment.open_db(b"meta")
        with environment.begin(write=True) as txn:
            txn.put(b"format", struct.pack(">Q", version), db=table)


@fault("environment of another format")
@pytest.mark.parametrize(("step", "word"), [(1, "newer"), (-1, "older")])
async def test_another_format_is_refused(
    step: int, word: str, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    """And with its number put right, the same environment is whole: nothing was touched."""
    with running_pair(tmp_path, demo_url) as pair:
        async with watched(pair, tally) as site:
            await site.agents.make_calls(10)
    set_format(pair.db_path, FORMAT_VERSION + step)
    before = digests(pair.db_path)
    for child in (pair.proxy, pair.control):
        said = says(child)
        assert f"written by a {word} Rolltrace (format {FORMAT_VERSION + step}" in said
        assert "Traceback" not in said
    assert digests(pair.db_path) == before
    set_format(pair.db_path, FORMAT_VERSION)
    pair.start_control()
    pair.start_proxy()
    try:
        async with watched(pair, tally) as site:
            await site.agents.call("after")
    finally:
        pair.proxy.stop()
        pair.control.stop()


def foreign_bytes(db_path: Path) -> None:
    db_path.mkdir()
    (db_path / "data.mdb").write_bytes(b"something else" * 1000)


def foreign_program(db_path: Path) -> None:
    db_path.mkdir()
    with lmdb.open(str(db_path), lib_version=0) as environment, environment.begin(write=True) as txn:
        txn.put(b"key", b"value")


def file(db_path: Path) -> None:
    db_path.write_text("notes")


@fault("a foreign file for an environment")
@pytest.mark.parametrize("make", [foreign_bytes, foreign_program, file])
def test_what_is_no_environment_is_refused_and_left_alone(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    pair = Pair(tmp_path)
    make(pair.db_path)
    before = digests(tmp_path)
    for child in (pair.proxy, pair.control):
        said = says(child)
        assert str(pair.db_path) in said
        assert "db_path" in said.lower()
        assert "Traceback" not in said
    assert {file: digest for file, digest in digests(tmp_path).items() if file in before} == before
