"""sealing: session_id -> how it is to be sealed; sealed: the sessions that are, by age, for retention.

Value of sealing: u8 cancel (0 or 1), u64 deadline, big-endian. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rolltrace_store.schema.age import AGE, Age
from rolltrace_store.schema.codec import EMPTY, TEXT, Codec, Table

_LAYOUT = struct.Struct(">?Q")


@dataclass(frozen=True, slots=True)
class SealingRow:
    cancel: bool
    deadline: int


def _encode(row: SealingRow) -> bytes:
    return _LAYOUT.pack(row.cancel, row.deadline)


def _decode(data: bytes) -> SealingRow:
    return SealingRow(*_LAYOUT.unpack(data))


SEALING: Table[str, SealingRow] = Table("sealing", TEXT, Codec(_encode, _decode))
SEALED: Table[Age, None] = Table("sealed", AGE, EMPTY)
