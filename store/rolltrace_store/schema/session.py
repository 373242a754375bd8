"""sessions: session_id -> a serialised Session, without the counts (counters has them) and base_url."""

from rolltrace.v1.session_pb2 import Session
from rolltrace_store.schema.codec import TEXT, Table, message

SESSIONS: Table[str, Session] = Table("sessions", TEXT, message(Session))
