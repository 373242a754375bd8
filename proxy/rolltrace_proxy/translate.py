"""A call in a dialect, made a chat completion. Decided in `dialects`; what they ask for is looked up here."""

from __future__ import annotations

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import Call
from rolltrace_proxy.dialects.interface import Dialect, NotTranslatableError, Referring, Translation
from rolltrace_proxy.errors import of_store
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import ReadView, Store


async def translate(dialect: Dialect, call: Call, store: Store) -> tuple[Translation | None, str]:
    """The translation; or why there is none, and the call goes on as it came. Raises Refused."""

    def look_back(view: ReadView, referring: Referring) -> Translation:
        def find(trace_id: str) -> pb.Trace | None:
            stored = view.trace(trace_id)
            trace = None if stored is None else pb.Trace.FromString(stored)
            return None if trace is None or trace.session_id != call.session_id else view.expand(trace)

        return referring.translate(find)

    try:
        made = dialect.translate(call.request, call.trace_id)
        if isinstance(made, Referring):
            referring = made
            made = await store.read(lambda view: look_back(view, referring))
    except NotTranslatableError as error:
        return None, str(error)
    except StoreError as error:
        raise of_store(error) from error
    return made, ""
