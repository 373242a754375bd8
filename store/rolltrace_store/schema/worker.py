"""workers: worker_id -> a serialised Worker, its api_key included."""

from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store.schema.codec import TEXT, Table, message

WORKERS: Table[str, Worker] = Table("workers", TEXT, message(Worker))
