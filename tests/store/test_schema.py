"""Every codec gives back what it took, and keys sort as what they stand for."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1.event_pb2 import EventKind
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import schema
from rolltrace_store.schema.age import AGE, Age
from rolltrace_store.schema.codec import EMPTY, TEXT, U64, UNREADABLE, UUID, Codec
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.request import Answer
from rolltrace_store.schema.running import RunningKey, RunningRow
from rolltrace_store.schema.seal import SealingRow
from rolltrace_store.schema.session_trace import CallKey, CallRow, prefix

U64S = st.integers(0, (1 << 64) - 1) | st.integers(0, 300)
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
DIGESTS = st.binary(min_size=32, max_size=32)
UUIDS = st.uuids().map(str)

KEYS: list[tuple[Codec[Any], st.SearchStrategy[Any]]] = [
    (U64, U64S),
    (TEXT, NAMES),
    (schema.SESSION_TRACES.key, st.builds(CallKey, NAMES, U64S)),
    (schema.RUNNING.key, st.builds(RunningKey, NAMES, UUIDS)),
    (AGE, st.builds(Age, U64S, NAMES)),
    (UUID, UUIDS),
]
VALUES: list[tuple[Codec[Any], st.SearchStrategy[Any]]] = [
    (EMPTY, st.none()),
    (
        schema.COUNTERS.value,
        st.builds(Counters, *[U64S] * 9, st.booleans(), st.binary(min_size=32, max_size=32)),
    ),
    (schema.RUNNING.value, st.builds(RunningRow, NAMES, st.integers(0, 0xFFFFFFFF), st.binary())),
    (schema.SEALING.value, st.builds(SealingRow, st.booleans(), U64S)),
    (schema.TOMBSTONES.value, U64S),
    (schema.LOG.value, st.builds(Entry, st.sampled_from(EventKind.values()), st.binary())),
    (schema.SESSION_TRACES.value, st.builds(CallRow, U64S, UUIDS)),
    (schema.REQUESTS.value, st.builds(Answer, U64S, NAMES, st.binary(max_size=40), st.binary())),
    (schema.SESSIONS.value, st.builds(Session, session_id=NAMES, group_size=st.integers(0, 9))),
    (schema.WORKERS.value, st.builds(Worker, worker_id=NAMES, weight=st.floats(0, 9))),
]


@pytest.mark.parametrize(("codec", "values"), KEYS + VALUES)
def test_what_is_written_is_read(codec: Codec[Any], values: st.SearchStrategy[Any]) -> None:
    @given(values)
    @settings(max_examples=40)
    def check(value: object) -> None:
        assert codec.decode(codec.encode(value)) == value

    check()


@pytest.mark.parametrize(("codec", "keys"), KEYS)
def test_keys_sort_as_what_they_stand_for(codec: Codec[Any], keys: st.SearchStrategy[Any]) -> None:
    @given(st.lists(keys, max_size=8))
    @settings(max_examples=60)
    def check(values: list[Any]) -> None:
        assert sorted(values) == sorted(values, key=codec.encode)

    check()


@given(NAMES, NAMES, U64S)
def test_no_other_session_has_the_prefix_of_a_session(name: str, other: str, index: int) -> None:
    call = schema.SESSION_TRACES.key.encode(CallKey(other, index))
    running = schema.RUNNING.key.encode(RunningKey(other, str(uuid.UUID(int=index))))
    for key in (call, running):
        assert key.startswith(prefix(name)) == (name == other)


@pytest.mark.parametrize(
    "codec", [codec for codec, _ in KEYS + VALUES if codec not in (EMPTY, schema.LOG.value)]
)
def test_what_cannot_be_read_is_told(codec: Codec[Any]) -> None:
    with pytest.raises(UNREADABLE):
        codec.decode(b"\xff")


def test_table_names_are_unique() -> None:
    names = [table.name for table in schema.TABLES]
    assert len(set(names)) == len(names)


def test_a_uuid_takes_16_bytes() -> None:
    assert len(UUID.encode(str(uuid.uuid4()))) == 16
