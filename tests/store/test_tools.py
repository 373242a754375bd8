"""`rolltrace db stat|compact`, and the command line of all three, beside a store that is open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest

from rolltrace_store import StoreError, StoreFullError, open_store, schema
from rolltrace_store.__main__ import main
from rolltrace_store.compaction import compact
from rolltrace_store.environment import LMDB_MAJOR
from rolltrace_store.inspection import snapshot
from rolltrace_store.sizes import human, sizes
from tests.store.processes import options
from tests.store.sessions import Agent


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rolltrace_store", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def _fill(path: Path, turns: int) -> None:
    store = open_store(path, options())
    for session_id in ("kept", "deleted"):
        agent = Agent(1, session_id)
        for _ in range(turns):
            await store.append_trace(agent.turn())
    await store.write(lambda view: view.delete_session("deleted"))
    await store.close()


async def test_beside_an_open_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db", options())
    agent = Agent(1)
    for _ in range(3):
        await store.append_trace(agent.turn())
    checked = _run("check", "--db-path", tmp_path / "db")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "is sound (1 sessions, 3 traces, 3 events)" in checked.stdout
    copied = _run("compact", "--db-path", tmp_path / "db", tmp_path / "copy")
    assert (copied.returncode, copied.stderr) == (0, "")
    await store.append_trace(agent.turn())
    await store.close()
    assert "3 traces" in _run("check", "--db-path", tmp_path / "copy").stdout


async def test_stat_counts_rows_and_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await _fill(tmp_path / "db", turns=3)
    assert main(["stat", "--json", "--db-path", str(tmp_path / "db")]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    assert set(rows) == {table.name for table in schema.TABLES}
    assert (rows["log"], rows["trace_ids"], rows["session_traces"], rows["sessions"]) == (4, 3, 3, 1)
    assert found["head"] == 7
    used = sum(table["bytes"] for table in found["tables"])
    assert 0 < used <= found["file_bytes"] == used + found["free_bytes"]
    assert main(["stat", "--db-path", str(tmp_path / "db")]) == 0
    shown = capsys.readouterr().out
    assert all(table.name in shown for table in schema.TABLES)
    assert found["epoch"] in shown


class _Room(NamedTuple):
    total: int
    used: int
    free: int


def _failing_disk(_: int) -> None:
    raise OSError("a fault")


def _no_room(_: Path) -> _Room:
    return _Room(10, 5, 5)


async def test_compact_leaves_free_pages_behind(tmp_path: Path) -> None:
    await _fill(tmp_path / "db", turns=10)
    done = compact(tmp_path / "db", tmp_path / "new" / "copy")
    assert done.after < done.before * 0.7
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["copy"]
    with snapshot(tmp_path / "db") as source, snapshot(tmp_path / "new" / "copy") as copy:
        for table in schema.TABLES:
            assert list(source.scan(table.name)) == list(copy.scan(table.name))
    store = open_store(tmp_path / "new" / "copy", options())
    assert (await store.read(lambda view: view.log_state())).head == 21
    await store.close()


async def test_compact_touches_no_target(tmp_path: Path) -> None:
    await _fill(tmp_path / "db", turns=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "copy.partial").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        compact(tmp_path / "db", tmp_path / "empty")
    with pytest.raises(StoreError, match="of another copy"):
        compact(tmp_path / "db", tmp_path / "copy")
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "copy").exists()


async def test_compact_asks_for_room_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fill(tmp_path / "db", turns=1)
    monkeypatch.setattr("shutil.disk_usage", _no_room)
    with pytest.raises(StoreFullError, match=r"needs \d+ bytes, but .* has 5 free"):
        compact(tmp_path / "db", tmp_path / "copy")
    assert os.listdir(tmp_path) == ["db"]


async def test_a_failed_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fill(tmp_path / "db", turns=1)
    monkeypatch.setattr("os.fsync", _failing_disk)
    with pytest.raises(OSError, match="a fault"):
        compact(tmp_path / "db", tmp_path / "copy")
    assert os.listdir(tmp_path) == ["db"]


def test_where_there_is_none(tmp_path: Path) -> None:
    for command in (["check"], ["stat"], ["compact", str(tmp_path / "copy")]):
        run = _run(command[0], "--db-path", tmp_path / "none", *command[1:])
        assert run.returncode == 1
        assert run.stderr == f"rolltrace db: there is no environment at {tmp_path}/none: it has no data.mdb\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        lmdb.open(str(tmp_path), lib_version=LMDB_MAJOR) as environment,
        environment.begin(write=True) as txn,
    ):
        txn.put(b"another", b"program")
    assert main(["check", "--db-path", str(tmp_path)]) == 1
    assert "does not hold a Rolltrace environment" in capsys.readouterr().err
    (tmp_path / "data.mdb").write_bytes(b"no database at all" * 1000)
    assert main(["stat", "--db-path", str(tmp_path)]) == 1
    assert "cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "stat", "compact"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--db-path" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB"), (5 << 30, "5.0 GiB")],
)
def test_human_sizes(size: int, text: str) -> None:
    assert human(size) == text


async def test_an_environment_grows_with_what_is_new(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db", options())
    agent = Agent(1)
    for _ in range(50):
        await store.append_trace(agent.turn())
    await store.close()
    with snapshot(tmp_path / "db") as source:
        assert sum(table.bytes for table in sizes(source).tables) < 500_000
