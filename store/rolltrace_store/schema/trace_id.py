"""trace_ids: trace_id (16 bytes of the UUID) -> the trace's sequence."""

from rolltrace_store.schema.codec import U64, UUID, Table

TRACE_IDS: Table[str, int] = Table("trace_ids", UUID, U64)
