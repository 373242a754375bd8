"""`rolltrace import` on files as rLLM's gateway writes them, into a real environment."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Outcome
from rolltrace_store import Store, StoreFullError, WriteView, open_store
from rolltrace_store.inspection import map_size
from rolltrace_store.rllm import __main__ as command
from rolltrace_store.rllm import importing
from rolltrace_store.rllm.source import SourceError, opened
from tests.store.processes import options
from tests.store.rllm.samples import File, record, request, streamed
from tests.store.test_check import findings_in


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "it's what? 100%41.db")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "db"


async def stored(db: Path, session_id: str) -> list[pb.Trace]:
    store = open_store(db, options())
    try:
        return await store.read(
            lambda view: [view.expand(pb.Trace.FromString(body)) for body in view.traces(session_id)]
        )
    finally:
        await store.close()


def run(file: File, db: Path, *arguments: str) -> int:
    return command.main([str(file.path), "--db-path", str(db), *arguments])


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rolltrace_store.rllm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    found: dict[str, int] = json.loads(capsys.readouterr().out)
    return found


def counts(imported: int, already_there: int = 0, left_out: int = 0, sessions: int = 0) -> dict[str, int]:
    return {
        "imported": imported,
        "already_there": already_there,
        "left_out": left_out,
        "sessions": sessions,
    }


def test_all_that_is_there_comes_over_once(file: File, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        file.add(record(f"s-{number % 2}"))
    file.add(streamed("s/with/slashes"))
    before = file.path.read_bytes()
    assert run(file, db) == 0
    assert capsys.readouterr() == (f"{file.path}: imported 6 traces of 3 sessions\n", "")
    assert run(file, db) == 0
    assert capsys.readouterr().out == f"{file.path}: nothing to import, 6 were there already\n"
    file.add(record("s-0"))
    assert run(file, db, "--json") == 0
    assert as_json(capsys) == counts(1, already_there=6, sessions=1)
    assert file.path.read_bytes()[:16] == before[:16]


async def test_the_calls_of_a_session_come_in_their_order(file: File, db: Path) -> None:
    first, second = record(), record()
    first["prompt_token_ids"] = [1, 2, 3]
    names = [file.add(made) for made in (first, record("other"), second)]
    assert await importing_(file, db) == counts(3, sessions=2)
    traces = await stored(db, "s")
    assert [trace.trace_id for trace in traces] == [names[0], names[2]]
    assert [trace.call_index for trace in traces] == [0, 1]


async def importing_(file: File, db: Path) -> dict[str, int]:
    """In this process, on its loop."""
    store = open_store(db, options())
    try:
        return await into(store, file)
    finally:
        await store.close()


async def into(store: Store, file: File, report: Callable[[str], None] = lambda _: None) -> dict[str, int]:
    with opened(file.path) as source:
        tally = await importing.bring_over(source.rows(), store, report, lambda _: None)
    return counts(tally.imported, tally.already_there, tally.left_out, len(tally.sessions))


async def test_a_record_of_several_sessions_is_in_each(file: File, db: Path) -> None:
    name = file.add(record("b"), "a", "b", "c")
    assert await importing_(file, db) == counts(3, sessions=3)
    assert await importing_(file, db) == counts(0, already_there=3)
    found = {session_id: (await stored(db, session_id))[0] for session_id in ("a", "b", "c")}
    assert found["b"].trace_id == name
    assert len({trace.trace_id for trace in found.values()}) == 3
    assert {trace.labels["rllm_trace_id"] for key, trace in found.items() if key != "b"} == {name}


async def test_a_record_that_is_filed_nowhere_is_in_its_own_session(file: File, db: Path) -> None:
    name = file.add(record("s"))
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("DELETE FROM trace_sessions")
    assert await importing_(file, db) == counts(1, sessions=1)
    assert [trace.trace_id for trace in await stored(db, "s")] == [name]


def test_what_can_be_no_trace_is_named_and_left_out(
    file: File, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.add(record())
    broken = [
        (file.add('{"cut', "s"), "its record is not JSON"),
        (file.add(b"\xff\xfe", "s"), "its record is not JSON"),
        (file.add("[1]", "s"), "its record is not a JSON object"),
        (file.add("[" * 100_000, "s"), "its record is not JSON"),
        (file.add(record(completion_token_ids=["x"], raw_response=None)), "holds what is no token id"),
        (file.add(record("a/v1/b")), 'holds a "v1" segment'),
        (file.add(record("s"), "\n"), "holds a control character"),
    ]
    file.add(record())
    assert run(file, db, "--json") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == counts(2, left_out=len(broken), sessions=1)
    lines = shown.err.splitlines()
    assert len(lines) == len(broken)
    for name, says in broken:
        assert any(f"trace {name!r} of session" in line and says in line for line in lines), (name, says)


def test_very_many_that_are_left_out_are_counted(
    file: File, db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SHOWN", 2)
    for _ in range(5):
        file.add("", "s")
    assert run(file, db) == 1
    shown = capsys.readouterr()
    assert shown.out == f"{file.path}: nothing to import, 5 are left out\n"
    assert shown.err.splitlines()[2:] == ["rolltrace import: ... and 3 more"]


async def test_a_session_that_was_deleted_or_sealed_here_stays_so(file: File, db: Path) -> None:
    for session_id in ("gone", "sealed", "open"):
        file.add(record(session_id))
    store = open_store(db, options())

    def end(view: WriteView) -> None:
        view.delete_session("gone")
        view.begin_seal("sealed", Outcome(status="success"), cancel=False, deadline=0)
        view.finish_seal("sealed")

    try:
        assert await into(store, file) == counts(3, sessions=3)
        await store.write(end)
        for session_id in ("sealed", "open"):
            file.add(record(session_id))
        said: list[str] = []
        assert await into(store, file, said.append) == counts(1, already_there=2, left_out=2, sessions=1)
        assert [line.rpartition(": ")[2] for line in said] == [
            "its session was deleted here",
            "its session is sealed here",
        ]
    finally:
        await store.close()


async def test_while_the_services_run(file: File, db: Path) -> None:
    file.add(record())
    store = open_store(db, options(), proxy=True)
    try:
        done = await asyncio.to_thread(run_command, str(file.path), "--db-path", str(db), "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == counts(1, sessions=1)
        assert await store.wait(0, 10.0) == 1
        session = await store.read(lambda view: view.session("s"))
        assert session is not None
        assert session.call_count == 1
    finally:
        await store.close()
    assert map_size(db) == options().max_db_size, "another size than the services' would be one too many"


async def test_while_rllms_gateway_writes(file: File, db: Path) -> None:
    for _ in range(3):
        file.add(record())
    with opened(file.path) as source:
        rows = source.rows()
        next(rows)
        with closing(sqlite3.connect(file.path, timeout=0.0)) as gateway, gateway:
            gateway.execute("DELETE FROM traces WHERE trace_id = (SELECT max(trace_id) FROM traces)")
        assert len(list(rows)) == 2


def test_what_is_no_file_of_rllms_gateway(
    tmp_path: Path, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, other, empty = tmp_path / "text.db", tmp_path / "other.db", tmp_path / "empty.db"
    text.write_text("not a database" * 100)
    empty.touch()
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE traces (trace_id TEXT)")
    for path, says in (
        (tmp_path / "none.db", f"there is no file {tmp_path / 'none.db'}"),
        (tmp_path, f"there is no file {tmp_path}"),
        (text, f"{text} cannot be read: file is not a database"),
        (other, f"{other} is not of rLLM's gateway: it has no table trace_sessions"),
        (empty, f"{empty} is not of rLLM's gateway: it has no table trace_sessions and no table traces"),
    ):
        assert command.main([str(path), "--db-path", str(db)]) == 1
        assert capsys.readouterr() == ("", f"rolltrace import: {says}\n")
    assert not db.exists()


def test_a_file_that_is_damaged_within(file: File, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        file.add(record())
    data = bytearray(file.path.read_bytes())
    with closing(sqlite3.connect(file.path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'traces'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data[(root - 1) * size : root * size] = b"\xff" * size
    file.path.write_bytes(data)
    assert run(file, db) == 1
    assert f"{file.path} cannot be read: database disk image is malformed" in capsys.readouterr().err


async def test_a_store_that_is_full_says_so_and_keeps_what_it_has(
    file: File, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.add(record())
    file.add(record())
    monkeypatch.setattr(importing, "_AT_ONCE", 1)
    store = open_store(db, options())
    append, calls = store.append_trace, 0

    def once(trace: pb.Trace) -> object:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StoreFullError("full")
        return append(trace)

    monkeypatch.setattr(store, "append_trace", once)
    try:
        with pytest.raises(StoreFullError):
            await into(store, file)
    finally:
        await store.close()
    assert len(await stored(db, "s")) == 1


def test_progress_is_told(
    file: File, db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(importing, "_AT_ONCE", 2)
    for _ in range(3):
        file.add(record())
    assert run(file, db) == 0
    assert capsys.readouterr().err == "looked at 2 of 3 traces\nlooked at 3 of 3 traces\n"


async def test_large_records_go_few_at_a_time(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_BYTES_AT_ONCE", 1)
    file.add(record())
    file.add(record())
    with opened(file.path) as source:
        assert [len(batch) for batch in importing._batches(source.rows())] == [1, 1]  # pyright: ignore[reportPrivateUsage]


def test_the_source_cannot_be_written(file: File) -> None:
    with pytest.raises(SourceError, match="readonly"), opened(file.path) as source:
        source._connection.execute("DELETE FROM traces")  # pyright: ignore[reportPrivateUsage]


async def test_an_image_is_kept_with_the_request(file: File, db: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(random.Random(1).randbytes(200_000)).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    asked = request(messages=[{"role": "user", "content": content}])
    for _ in range(3):
        file.add(record(raw_request=asked))
    assert await importing_(file, db) == counts(3, sessions=1)
    for trace in await stored(db, "s"):
        assert json.loads(trace.request_json) == asked
    assert findings_in(db) == []


def test_sound_after_it(file: File, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rolltrace_store.__main__ import main as look

    file.add(record())
    file.add(streamed(logprobs=[-1.0]), "s", "t")
    file.add(record(raw_response={"error": "no"}))
    assert run(file, db) == 0
    assert look(["check", "--db-path", str(db)]) == 0
    assert "is sound (2 sessions, 4 traces, 4 events)" in capsys.readouterr().out
