"""How blobs come and go with the sessions that have them.

Rule: a session's rows in session_blobs and blob_sessions, and the pieces of a blob that no other session has,
come and go in the transaction that the session's traces do.
"""

from __future__ import annotations

from collections.abc import Mapping

from rolltrace_store import schema
from rolltrace_store.blobs import Packed, pack
from rolltrace_store.cutting import Blobs
from rolltrace_store.mutable_view import MutableView
from rolltrace_store.schema.blob import Holding, PieceKey
from rolltrace_store.schema.session_trace import prefix


class BlobWrites(MutableView):
    """The part of a writing view that is about blobs."""

    def keep_blobs(self, session_id: str, blobs: Blobs, packed: Mapping[bytes, Packed]) -> None:
        """Gives blobs to a session; `packed` are those of them that were made ready, by digest.

        Raises StoreFullError, in the midst of it.
        """
        for digest, data in blobs.items():
            if not self.holds(session_id, digest):
                if not self.has_blob(digest):
                    self._put_blob(digest, packed.get(digest) or pack(data))
                self._take_room(2 * len(session_id))
                self._mutable(schema.SESSION_BLOBS).put(Holding(session_id, digest), None)
                self._mutable(schema.BLOB_SESSIONS).put(Holding(session_id, digest), None)

    def _put_blob(self, digest: bytes, pieces: Packed) -> None:
        rows = self._mutable(schema.BLOBS)
        for number, piece in enumerate(pieces):
            self._take_room(len(piece.data))
            rows.put(PieceKey(digest, number), piece)

    def _drop_blobs(self, session_id: str) -> None:
        """Takes from a session all that it has."""
        held, holders = self._mutable(schema.SESSION_BLOBS), self._mutable(schema.BLOB_SESSIONS)
        holdings: list[Holding] = [holding for holding, _ in held.scan(prefix=prefix(session_id))]
        for holding in holdings:
            held.delete(holding)
            holders.delete(holding)
            if not self.has_blob(holding.digest):
                self._delete_blob(holding.digest)

    def _delete_blob(self, digest: bytes) -> None:
        rows, number = self._mutable(schema.BLOBS), 0
        while rows.delete(PieceKey(digest, number)):
            number += 1
