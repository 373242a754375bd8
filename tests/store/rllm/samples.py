"""Records as rLLM's gateway 0.1.0 writes them, and its SQLite file."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

Json = dict[str, object]

SCHEMA = """
CREATE TABLE traces (trace_id TEXT PRIMARY KEY, data TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE trace_sessions (
    trace_id TEXT NOT NULL, session_id TEXT NOT NULL, created_at REAL NOT NULL,
    PRIMARY KEY (trace_id, session_id),
    FOREIGN KEY (trace_id) REFERENCES traces(trace_id) ON DELETE CASCADE
);
CREATE INDEX idx_ts_session ON trace_sessions(session_id);
CREATE INDEX idx_ts_session_time ON trace_sessions(session_id, created_at ASC);
CREATE INDEX idx_traces_time ON traces(created_at);
"""
END = 1_790_000_000.5
"""When the first record was written, in seconds since 1970."""
LATENCY_MS = 250.0


def choice(
    index: int = 0, ids: Iterable[int] = (7, 8), logprobs: Iterable[float | None] = (-0.5, -1.5)
) -> Json:
    return {
        "index": index,
        "message": {"role": "assistant", "content": f"choice {index}"},
        "logprobs": {"content": [{"token": "t", "logprob": value} for value in logprobs]},
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": list(ids),
    }


def response(*choices: Json, prompt: Iterable[int] = (1, 2, 3)) -> Json:
    made = list(choices) or [choice()]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": made,
        "prompt_token_ids": list(prompt),
        "prompt_logprobs": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2 * len(made)},
    }


def request(**fields: object) -> Json:
    """As its middleware sends it on."""
    messages = [{"role": "user", "content": "hi é"}]
    asked = {"logprobs": True, "extra_body": {"return_token_ids": True}, "return_token_ids": True}
    return {"model": "m", "messages": messages, **fields, **asked}


def record(session_id: str = "s", **fields: object) -> Json:
    """Of an answer in one piece, as build_trace_record makes it."""
    answer = response()
    made: Json = {
        "trace_id": str(uuid.uuid4()),
        "session_id": session_id,
        "model": "m",
        "messages": request()["messages"],
        "prompt_token_ids": [1, 2, 3],
        "response_message": choice()["message"],
        "completion_token_ids": [7, 8],
        "logprobs": [-0.5, -1.5],
        "finish_reason": "stop",
        "latency_ms": LATENCY_MS,
        "token_counts": {"prompt": 3, "completion": 2},
        "timestamp": END,
        "metadata": {},
        "raw_request": request(),
        "raw_response": answer,
    }
    return {**made, **fields}


def streamed(session_id: str = "s", **fields: object) -> Json:
    """As build_trace_record_from_chunks makes it."""
    return record(session_id, **{"raw_request": request(stream=True), "raw_response": None, **fields})


class File:
    """A file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(SCHEMA)

    def add(self, data: Mapping[str, object] | str | bytes, *sessions: str, trace_id: str = "") -> str:
        """Files a record under these sessions, or its own; returns its trace_id."""
        known: Mapping[str, object] = data if isinstance(data, Mapping) else {}
        name = trace_id or str(known.get("trace_id") or uuid.uuid4())
        stored = json.dumps(data) if isinstance(data, Mapping) else data
        self._written += 1
        created = END + self._written
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("INSERT INTO traces VALUES (?, ?, ?)", (name, stored, created))
            for session_id in sessions or (str(known["session_id"]),):
                connection.execute("INSERT INTO trace_sessions VALUES (?, ?, ?)", (name, session_id, created))
        return name
