"""Blobs beside the traces: kept once, whole again in every view, and gone with the last who has them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import methodcaller
from pathlib import Path

import lmdb
import pytest

from rolltrace import compact
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_store import (
    Commit,
    CorruptError,
    InvalidArgumentError,
    Store,
    StoreFullError,
    array,
    open_store,
)
from rolltrace_store.__main__ import main
from rolltrace_store.blobs import PIECE_SIZE, pack, unpack
from rolltrace_store.check import check
from rolltrace_store.check_tables import Finding
from rolltrace_store.delta import decompress
from rolltrace_store.environment import LMDB_MAJOR
from rolltrace_store.inspection import snapshot
from rolltrace_store.schema.blob import Piece
from tests.store import samples
from tests.store.contract import full, stored
from tests.store.machines import SMALL, large
from tests.store.processes import options, output, started
from tests.store.test_cutting import image


def findings(path: Path) -> list[Finding]:
    found: list[Finding] = []
    with snapshot(path) as source:
        check(source, found.append, lambda: None)
    return found


async def sound(store: Store, path: Path) -> list[int]:
    """Closes the store, which must be sound; rows of blobs, session_blobs and blob_sessions."""
    await store.close()
    assert findings(path) == []
    with snapshot(path) as source:
        return [source.count(table) for table in ("blobs", "session_blobs", "blob_sessions")]


def turns(session_id: str, count: int, *images: bytes) -> list[pb.Trace]:
    """A conversation about images: every request has them all, and one message more than the one before."""
    traces = samples.conversation(session_id, count)
    urls = [f"data:image/png;base64,{data.decode()}" for data in images]
    messages: list[object] = [{"role": "user", "content": urls}]
    for number, trace in enumerate(traces):
        messages.append({"role": "user", "content": f"question {number} of {session_id}"})
        trace.request_json = json.dumps({"messages": messages}).encode()
    return traces


def with_experts(trace: pb.Trace, data: bytes) -> pb.Trace:
    shape = (len(data) // 4, 4)
    trace.completions[0].routed_experts.CopyFrom(array(data, "|u1", shape))
    return trace


async def record(store: Store, traces: Sequence[pb.Trace]) -> None:
    for trace in traces:
        await store.append_trace(trace)


async def blob(store: Store, digest: bytes) -> bytes | None:
    """What a reader of pieces gets; None when there is none."""
    pieces: list[bytes] = []
    while True:
        piece = await store.read(methodcaller("blob_piece", digest, len(pieces)))
        if piece is None:
            break
        assert len(piece) <= PIECE_SIZE
        pieces.append(piece)
    there = await store.read(lambda view: view.has_blob(digest))
    assert there == bool(pieces)
    return b"".join(pieces) if there else None


@pytest.mark.parametrize("size", [0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE])
def test_a_blob_is_in_pieces_and_compressed_where_that_helps(size: int) -> None:
    for data in (bytes(size), image(size)[:size]):
        pieces = pack(data)
        assert len(pieces) == max(-(-size // PIECE_SIZE), 1)
        assert b"".join(map(unpack, pieces)) == data
    assert pack(image(4096))[0].compression == pb.COMPRESSION_ZSTD
    noise = base64.b64decode(image(4096))
    for little in (noise, noise + bytes(len(noise) // 32)):  # what is saved is not worth undoing
        assert pack(little) == [Piece(pb.COMPRESSION_NONE, little)]
    with pytest.raises(CorruptError):
        unpack(Piece(pb.COMPRESSION_ZSTD, b"no frame"))


async def test_an_image_is_kept_once_and_traces_come_back_byte_for_byte(path: Path, store: Store) -> None:
    data, other = image(300_000, 1), image(20_000, 2)
    traces = turns("s", 5, data, other)
    traces[2].response_json = b'{"image": "%b"}' % other
    await record(store, traces)
    assert await full(store, "s") == traces
    assert await blob(store, sha256(data).digest()) == data
    assert sum(len(trace.SerializeToString()) for trace in await stored(store, "s")) < 5000
    assert await sound(store, path) == [2, 2, 2]


async def test_a_history_with_images_is_taken_up_by_a_new_process(path: Path, store: Store) -> None:
    traces = turns("s", 4, image(50_000))
    await record(store, traces[:2])
    await store.close()
    again = open_store(path, options())
    await record(again, traces[2:])
    assert await full(again, "s") == traces
    assert all(trace.compact.base_trace_id for trace in (await stored(again, "s"))[1:])
    await again.close()


async def test_what_rests_on_nothing_is_the_same_trace(store: Store) -> None:
    traces = turns("s", 3, image(50_000))
    await record(store, traces)
    for trace in await stored(store, "s"):
        alone = await store.read(methodcaller("standalone", trace))
        assert alone.compact.base_trace_id == ""
        bare = compact.expand(alone, None, decompress)
        data = {digest: await blob(store, digest) or b"" for digest in bare.digests()}
        assert compact.whole(bare, data.__getitem__) == await store.read(methodcaller("expand", trace))


async def test_arrays_are_kept_and_given_by_their_digest(path: Path, store: Store) -> None:
    data = bytes(range(256)) * 5000
    trace = with_experts(samples.trace("s"), data)
    named = trace.completions[0].routed_experts
    await store.append_trace(trace, {named.blob.digest: data})
    assert await full(store, "s") == [trace]
    assert (named.dtype, list(named.shape), named.blob.size) == ("|u1", [320_000, 4], len(data))
    assert await blob(store, named.blob.digest) == data
    assert await sound(store, path) == [2, 1, 1]


async def test_an_array_must_be_given_and_named(path: Path, store: Store) -> None:
    trace = with_experts(samples.trace("s"), b"1234")
    digest = trace.completions[0].routed_experts.blob.digest
    for blobs in ({}, {digest: b"123"}, {bytes(32): b"1234"}, {digest: b"1234", bytes(32): b""}):
        with pytest.raises(InvalidArgumentError, match="arrays"):
            await store.append_trace(trace, blobs)
    with pytest.raises(InvalidArgumentError, match="arrays"):
        await store.append_trace(samples.trace("s"), {digest: b"1234"})
    assert await sound(store, path) == [0, 0, 0]


async def test_a_blob_goes_with_the_last_session_that_has_it(path: Path) -> None:
    shared, own = image(PIECE_SIZE, 1), image(20_000, 2)
    store = open_store(path, options())
    await record(store, [*turns("a", 2, shared, own), *turns("b", 2, shared), *turns("b/c", 1, shared)])
    left = {"b": [3, 3, 3], "a": [2, 1, 1], "b/c": [0, 0, 0]}
    for gone, expected in left.items():
        await store.write(methodcaller("delete_session", gone))
        assert await blob(store, sha256(shared).digest()) == (shared if any(expected) else None)
        assert (await blob(store, sha256(own).digest()) is None) == (gone != "b")
        assert await sound(store, path) == expected
        store = open_store(path, options())
    await store.close()


async def test_a_session_deleted_and_made_again_has_its_blobs_anew(path: Path, store: Store) -> None:
    data = image()
    await record(store, turns("s", 2, data))
    await store.write(lambda view: view.delete_session("s"))
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    traces = turns("s", 2, data)
    await record(store, traces)
    assert await full(store, "s") == traces
    assert await sound(store, path) == [1, 1, 1]


async def test_a_blob_counts_for_the_room_there_is(path: Path) -> None:
    store = open_store(path, SMALL)
    traces = [turns(f"s-{number}", 1, image(200_000, number))[0] for number in range(20)]
    done = await asyncio.gather(*map(store.append_trace, traces), return_exceptions=True)
    recorded = sum(isinstance(result, Commit) for result in done)
    assert all(isinstance(result, StoreFullError) for result in done if not isinstance(result, Commit))
    assert 5 < recorded < 20
    assert (await store.read(lambda view: view.stats())).trace_count == recorded
    await store.write(lambda view: view.delete_session("s-0"))
    await store.append_trace(large("small"))
    assert await sound(store, path) == [recorded - 1] * 3


async def test_what_waits_counts_its_blobs(store: Store) -> None:
    data = bytes(1 << 20)
    trace = with_experts(samples.trace("s"), data)
    future = store.append_trace(trace, {trace.completions[0].routed_experts.blob.digest: data})
    assert store.queued_bytes() > len(data)
    await future
    assert store.queued_bytes() == 0


async def test_many_who_have_one_image_at_once(path: Path, store: Store) -> None:
    data = image(100_000)
    groups = [turns(f"s-{number}", 2, data) for number in range(16)]
    await asyncio.gather(*[record(store, traces) for traces in groups])
    for traces in groups:
        assert await full(store, traces[0].session_id) == traces
    assert await sound(store, path) == [1, 16, 16]


async def test_processes_that_record_and_delete_one_image_at_once(path: Path, store: Store) -> None:
    """What one drops as another takes it up is there for the other."""
    with started("churn", path, "x", "25") as one, started("churn", path, "y", "25") as other:
        left = {line.strip() for process in (one, other) for line in output(process)}
        assert (one.wait(), other.wait()) == (0, 0)
    assert len(left) == 2 * 25 // 5
    for session_id in left:
        (trace,) = await full(store, session_id)
        assert image(50_000) in trace.request_json
    assert await sound(store, path) == [1, len(left), len(left)]


async def test_a_writer_killed_in_the_midst_of_blobs(path: Path) -> None:
    recorded: list[str] = []
    for number in range(5):
        with started("picture", path, f"s-{number % 2}") as process:
            lines = [output(process).readline() for _ in range(3 + 2 * number)]
            process.kill()
            lines += output(process).readlines()
        recorded += [line.strip() for line in lines if line.endswith("\n")]
        assert findings(path) == []
    store = open_store(path, options())
    kept = {trace.trace_id: trace for number in (0, 1) for trace in await full(store, f"s-{number}")}
    assert kept.keys() >= set(recorded)
    assert all(len(trace.request_json) > 50_000 for trace in kept.values())
    await store.close()


def damaged(path: Path, table: str, change: Callable[[lmdb.Cursor[bytes]], object]) -> list[str]:
    """What is found after `change` was done at the first row of a table."""
    with lmdb.open(str(path), max_dbs=32, lib_version=LMDB_MAJOR) as environment:
        database = environment.open_db(table.encode(), create=False)
        with environment.begin(write=True) as txn, txn.cursor(database) as cursor:
            assert cursor.first()
            change(cursor)
    return [finding.fault for finding in findings(path)]


def flip(cursor: lmdb.Cursor[bytes]) -> None:
    value = bytearray(cursor.value())
    value[len(value) // 2] ^= 1
    cursor.put(cursor.key(), bytes(value))


def renumber(cursor: lmdb.Cursor[bytes]) -> None:
    key, value = cursor.item()
    cursor.delete()
    cursor.put(key[:-1] + b"\x05", value)


def another(cursor: lmdb.Cursor[bytes]) -> None:
    cursor.put(cursor.key()[:-32] + bytes(32), b"")


DAMAGE: list[tuple[str, Callable[[lmdb.Cursor[bytes]], object], str]] = [
    ("blobs", flip, "cannot be read: a piece of a blob"),
    ("blobs", flip, "has other bytes than its digest tells"),
    ("blobs", renumber, "has piece 5 where piece 0 should be"),
    ("blobs", lambda cursor: cursor.delete(), "is not there"),
    ("session_blobs", lambda cursor: cursor.delete(), "is not there, but a trace names it"),
    ("session_blobs", another, "has 2 blobs, but its traces name 1"),
    ("blob_sessions", lambda cursor: cursor.delete(), "is there, but no session has it"),
    ("blob_sessions", lambda cursor: cursor.delete(), "is not there"),
]


@pytest.mark.parametrize(("table", "change", "fault"), DAMAGE)
async def test_damage_is_found(
    path: Path, table: str, change: Callable[[lmdb.Cursor[bytes]], object], fault: str
) -> None:
    store = open_store(path, options())
    await record(store, turns("s", 2, image()))
    await store.close()
    assert any(found.startswith(fault) for found in damaged(path, table, change))


async def test_a_trace_whose_blob_is_gone_is_told(path: Path) -> None:
    store = open_store(path, options())
    await record(store, turns("s", 1, image()))
    await store.close()
    damaged(path, "blobs", lambda cursor: cursor.delete())
    store = open_store(path, options())
    with pytest.raises(CorruptError, match="is not there"):
        await full(store, "s")
    await store.close()


async def test_blobs_are_counted_and_copied(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(path, options())
    traces = turns("s", 2, image(PIECE_SIZE))
    await record(store, traces)
    await store.close()
    copy = path.with_name("copy")
    for command, *target in (["stat"], ["check"], ["compact", str(copy)]):
        assert main([command, "--db-path", str(path), *target]) == 0
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    for counted in (["blobs", "2"], ["session_blobs", "1"], ["blob_sessions", "1"]):
        assert counted in shown
    assert findings(copy) == []
    again = open_store(copy, options())
    assert await full(again, "s") == traces
    await again.close()
