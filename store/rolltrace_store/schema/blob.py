"""blobs, session_blobs, blob_sessions: bytes that are kept once, and which sessions have them.

Key of blobs: the digest's 32 bytes, u32 piece, from 0; value: u8 compression (Compression), then the piece. A
blob is in pieces so that whoever reads one holds no transaction for long, and LMDB finds room for each. It is
there while a session has it: session_blobs has a row for each blob of a session (session_id, 00, digest),
blob_sessions the same the other way round (digest, session_id); both are empty. Big-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rolltrace.v1.trace_pb2 import Compression
from rolltrace_store.schema.codec import EMPTY, TEXT, Codec, Table

DIGEST_SIZE = 32
_PIECE_KEY = struct.Struct(">32sI")


class PieceKey(NamedTuple):
    digest: bytes
    number: int


class Piece(NamedTuple):
    """Part of a blob, compressed by itself."""

    compression: Compression.ValueType
    data: bytes


class Holding(NamedTuple):
    """A session has a blob."""

    session_id: str
    digest: bytes


def _encode_piece_key(key: PieceKey) -> bytes:
    return _PIECE_KEY.pack(*key)


def _decode_piece_key(data: bytes) -> PieceKey:
    return PieceKey._make(_PIECE_KEY.unpack(data))


def _encode_piece(piece: Piece) -> bytes:
    return bytes((piece.compression,)) + piece.data


def _decode_piece(data: bytes) -> Piece:
    if not data:
        raise ValueError("an empty piece")
    return Piece(Compression.ValueType(data[0]), data[1:])


def _by_session(holding: Holding) -> bytes:
    return TEXT.encode(holding.session_id) + b"\0" + holding.digest


def _of_session(data: bytes) -> Holding:
    session, end, digest = (
        data[: -DIGEST_SIZE - 1],
        data[-DIGEST_SIZE - 1 : -DIGEST_SIZE],
        data[-DIGEST_SIZE:],
    )
    if end != b"\0":
        raise ValueError("a key without its 00")
    return Holding(TEXT.decode(session), digest)


def _by_blob(holding: Holding) -> bytes:
    return holding.digest + TEXT.encode(holding.session_id)


def _of_blob(data: bytes) -> Holding:
    if len(data) < DIGEST_SIZE:
        raise ValueError("a key without a digest")
    return Holding(TEXT.decode(data[DIGEST_SIZE:]), data[:DIGEST_SIZE])


BLOBS: Table[PieceKey, Piece] = Table(
    "blobs", Codec(_encode_piece_key, _decode_piece_key), Codec(_encode_piece, _decode_piece)
)
SESSION_BLOBS: Table[Holding, None] = Table("session_blobs", Codec(_by_session, _of_session), EMPTY)
BLOB_SESSIONS: Table[Holding, None] = Table("blob_sessions", Codec(_by_blob, _of_blob), EMPTY)
