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
    try:
        return await translation(dialect, call.request, call.trace_id, call.session_id, store), ""
    except NotTranslatableError as error:
        return None, str(error)
    except StoreError as error:
        raise of_store(error) from error


async def translation(
    dialect: Dialect, body: bytes, trace_id: str, session_id: str, store: Store
) -> Translation:
    """Of a call's body. Raises what Dialect.translate raises; StoreError."""

    def look_back(view: ReadView, referring: Referring) -> Translation:
        def find(earlier: str) -> pb.Trace | None:
            stored = view.trace(earlier)
            trace = None if stored is None else pb.Trace.FromString(stored)
            return None if trace is None or trace.session_id != session_id else view.expand(trace)

        return referring.translate(find)

    made = dialect.translate(body, trace_id)
    if not isinstance(made, Referring):
        return made
    referring = made
    return await store.read(lambda view: look_back(view, referring))
