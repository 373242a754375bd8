"""sessions: session_id -> a serialised Session, without what is read from elsewhere.

The counts and the digest are in counters; base_url and api_key are made by those who know them.
"""

from rolltrace.v1.session_pb2 import Session
from rolltrace_store.schema.codec import TEXT, Table, message

SESSIONS: Table[str, Session] = Table("sessions", TEXT, message(Session))
