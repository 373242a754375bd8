"""What a session takes after it was made, and until when."""

from __future__ import annotations

import pytest

from rolltrace.v1.session_pb2 import Session
from rolltrace_store import NotFoundError, SealedError, Store
from tests.store import samples


async def test_an_open_session_takes_new_metadata_and_sampling_params(store: Store) -> None:
    asked = Session(session_id="s", group_id="g", labels={"a": "b"})
    asked.metadata.update({"old": 1, "both": 1})
    made = await store.write(lambda view: view.create_session(asked))
    await store.append_trace(samples.trace("s"))
    news = Session(session_id="s", group_id="other", call_count=9)
    news.metadata.update({"both": 2})
    news.sampling_params.update({"temperature": 0.5})
    changed = await store.write(lambda view: view.update_session(news))
    assert dict(changed.metadata) == {"both": 2}
    assert dict(changed.sampling_params) == {"temperature": 0.5}
    assert (changed.group_id, changed.call_count, changed.create_time) == ("g", 1, made.create_time)
    assert dict(changed.labels) == {"a": "b"}
    assert await store.read(lambda view: view.session("s")) == changed


async def test_a_session_that_ends_or_is_not_there_takes_no_news(store: Store) -> None:
    news = Session(session_id="s")
    with pytest.raises(NotFoundError):
        await store.write(lambda view: view.update_session(news))
    await store.write(lambda view: view.create_session(news))
    await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=0))
    with pytest.raises(SealedError):
        await store.write(lambda view: view.update_session(news))
    await store.write(lambda view: view.finish_seal("s"))
    with pytest.raises(SealedError):
        await store.write(lambda view: view.update_session(news))
