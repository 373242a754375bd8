"""Verifies blobs: their bytes, who has them, and that a session has those that its traces name. Decisions.

Memory holds one piece of a blob at a time, and the digests that one session's traces name.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby

from rolltrace_store import schema
from rolltrace_store.blobs import unpack
from rolltrace_store.check_tables import Tables, Tick
from rolltrace_store.errors import CorruptError
from rolltrace_store.schema.blob import Holding, Piece, PieceKey
from rolltrace_store.schema.session_trace import CallKey, prefix


def check_blobs(tables: Tables, tick: Tick) -> None:
    """Every blob has the bytes that its digest tells, and a session has it; both indexes agree."""
    for digest, pieces in groupby(tables.scan(schema.BLOBS), key=lambda row: row[0].digest):
        _check_bytes(tables, digest, pieces, tick)
        if not tables.count_within(schema.BLOB_SESSIONS, digest):
            tables.fault(schema.BLOBS, f"blob {digest.hex()}", "is there, but no session has it")
    for holding, _ in tables.scan(schema.SESSION_BLOBS):
        name = f"blob {holding.digest.hex()} of session {holding.session_id}"
        if not tables.has(schema.BLOB_SESSIONS, holding):
            tables.fault(schema.BLOB_SESSIONS, name, "is not there")
        if not tables.has(schema.BLOBS, PieceKey(holding.digest, 0)):
            tables.fault(schema.BLOBS, name, "is not there")
        if not tables.has(schema.SESSION_TRACES, CallKey(holding.session_id, 0)):
            tables.fault(schema.SESSION_BLOBS, name, "is there, but the session has no traces")
    for holding, _ in tables.scan(schema.BLOB_SESSIONS):
        if not tables.has(schema.SESSION_BLOBS, holding):
            name = f"blob {holding.digest.hex()} of session {holding.session_id}"
            tables.fault(schema.SESSION_BLOBS, name, "is not there")


def _check_bytes(tables: Tables, digest: bytes, pieces: Iterator[tuple[PieceKey, Piece]], tick: Tick) -> None:
    name, found = f"blob {digest.hex()}", sha256()
    for expected, (key, piece) in enumerate(pieces):
        tick()
        if key.number != expected:
            tables.fault(schema.BLOBS, name, f"has piece {key.number} where piece {expected} should be")
        try:
            found.update(unpack(piece))
        except CorruptError as error:
            tables.fault(schema.BLOBS, name, f"cannot be read: {error}")
    if found.digest() != digest:
        tables.fault(schema.BLOBS, name, "has other bytes than its digest tells")


def check_holdings(tables: Tables, session_id: str, named: set[bytes]) -> None:
    """A session has the blobs that its traces name, and no others."""
    for digest in named:
        if not tables.has(schema.SESSION_BLOBS, Holding(session_id, digest)):
            name = f"blob {digest.hex()} of session {session_id}"
            tables.fault(schema.SESSION_BLOBS, name, "is not there, but a trace names it")
    held = tables.count_within(schema.SESSION_BLOBS, prefix(session_id))
    if held > len(named):
        fault = f"has {held} blobs, but its traces name {len(named)}"
        tables.fault(schema.SESSION_BLOBS, f"session {session_id}", fault)
