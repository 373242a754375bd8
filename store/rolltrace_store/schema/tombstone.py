"""tombstones: session_id -> when it was deleted; tombstone_times: the same ids by age, for pruning.

Times are nanoseconds since 1970. A session that exists has no tombstone.
"""

from rolltrace_store.schema.age import AGE, Age
from rolltrace_store.schema.codec import EMPTY, TEXT, U64, Table

TOMBSTONES: Table[str, int] = Table("tombstones", TEXT, U64)
TOMBSTONE_TIMES: Table[Age, None] = Table("tombstone_times", AGE, EMPTY)
