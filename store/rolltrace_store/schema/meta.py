"""meta: facts about the environment as a whole, by name.

Numbers are u64 big-endian, the epoch is text, the secret is bytes, the policy a serialised Policy.
"""

from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace_store.schema.codec import BYTES, TEXT, U64, Table, message

NUMBERS: Table[str, int] = Table("meta", TEXT, U64)
TEXTS: Table[str, str] = Table("meta", TEXT, TEXT)
SECRETS: Table[str, bytes] = Table("meta", TEXT, BYTES)
POLICIES: Table[str, Policy] = Table("meta", TEXT, message(Policy))

FORMAT = "format"
"""FORMAT_VERSION of the release that made the environment."""
EPOCH = "epoch"
"""Names the log: 32 random hexadecimal digits, made with the environment."""
SECRET = "secret"
"""Random bytes, made with the environment: the key of its sessions' keys."""
SECRET_SIZE = 32
HEAD = "head"
"""The sequence of the last event that there ever was."""
TRIAL = "trial"
"""What a trial write leaves when the process dies before it has taken it back; it means nothing."""
COMPACTED = "compacted"
"""The last sequence that was trimmed off the log's beginning."""
WORKERS_REVISION = "workers_revision"
"""The sequence of the last worker_changed or policy_changed."""
POLICY = "policy"
"""What the last policy_changed said; no row before the first."""
