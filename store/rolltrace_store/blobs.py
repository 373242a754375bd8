"""Blobs as they are stored: cut into pieces, each compressed where that helps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import zstandard

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.delta import compress, decompress
from rolltrace_store.errors import CorruptError, InvalidArgumentError
from rolltrace_store.schema.blob import DIGEST_SIZE, Piece

PIECE_SIZE = 1 << 20
Packed: TypeAlias = Sequence[Piece]


def pack(data: bytes) -> Packed:
    """The pieces of a blob, one at least, of PIECE_SIZE bytes but for the last."""
    return [_piece(data[start : start + PIECE_SIZE]) for start in range(0, max(len(data), 1), PIECE_SIZE)]


def _piece(data: bytes) -> Piece:
    compression, frame = compress(data)
    if len(frame) > len(data) - len(data) // 16:  # not worth undoing
        return Piece(pb.COMPRESSION_NONE, data)
    return Piece(compression, frame)


def unpack(piece: Piece) -> bytes:
    """Raises CorruptError."""
    if piece.compression == pb.COMPRESSION_NONE:
        return piece.data
    try:
        return decompress(piece.data)
    except zstandard.ZstdError as error:
        raise CorruptError(f"a piece of a blob cannot be read: {error}") from error


def check_digest(digest: bytes) -> None:
    """Raises InvalidArgumentError."""
    if len(digest) != DIGEST_SIZE:
        raise InvalidArgumentError("digest", f"a digest has {DIGEST_SIZE} bytes, not {len(digest)}")
