"""What requests were before they were redacted: as digests, for as long as this proxy remembers them.

A record that was redacted can't tell whether a request is the same one, since others may look the same once
they are redacted. Another proxy, and this one after a restart, takes no repeat of such a call for one.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import Call

MOST = 10_000


class Originals:
    def __init__(self) -> None:
        self._digests: OrderedDict[str, bytes] = OrderedDict()

    def note(self, call: Call) -> None:
        """A call is about to run."""
        if call.kept == call.request:
            return
        self._digests[call.trace_id] = sha256(call.request).digest()
        if len(self._digests) > MOST:
            self._digests.popitem(last=False)

    def is_of(self, trace: pb.Trace, body: bytes) -> bool:
        """Whether the FULL trace is of a request with just these bytes."""
        digest = self._digests.get(trace.trace_id)
        return trace.request_json == body if digest is None else digest == sha256(body).digest()
