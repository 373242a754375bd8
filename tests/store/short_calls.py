"""What every store must do with calls that end before their admission was committed, or wait for it.

As contract.py, over a fixture `store`, which was opened as a proxy's.
"""

from __future__ import annotations

import asyncio

import pytest

from rolltrace_store import SealedError, SessionDeletedError, Store
from tests.store import samples
from tests.store.completeness import SOON, begun, running, seal, session_of
from tests.store.contract import full


class ShortCallsContract:
    async def test_an_admission_can_be_hurried(self, store: Store) -> None:
        admitted = store.admit(samples.admission("s"), 1)
        store.hurry()
        await admitted
        assert len(await running(store)) == 1

    async def test_admissions_and_traces_keep_their_order_with_other_writes(self, store: Store) -> None:
        trace = samples.trace("s")
        admitted = store.admit(samples.admission(of=trace), 1)
        deleted = asyncio.create_task(store.write(lambda view: view.delete_session("s")))
        await asyncio.sleep(0)
        with pytest.raises(SessionDeletedError):
            await store.append_trace(trace)
        assert (await deleted, admitted.exception()) == (0, None)

    async def test_a_call_that_comes_after_the_seal_and_ends_at_once_leaves_nothing(
        self, store: Store
    ) -> None:
        sealed = await begun(store)
        await store.append_trace(sealed)
        await store.write(seal)
        trace = samples.trace("s")
        admitted = store.admit(samples.admission(of=trace), 1)
        with pytest.raises(SealedError):
            await store.append_trace(trace)
        assert isinstance(admitted.exception(), SealedError)
        assert await full(store, "s") == [sealed]
        assert (await session_of(store)).late_call_count == 0

    async def test_a_call_that_begins_and_ends_while_its_session_is_sealing_counts(
        self, store: Store
    ) -> None:
        await store.append_trace(samples.trace("s"))
        await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=SOON))
        trace = samples.trace("s")
        admitted = store.admit(samples.admission(of=trace), 1)
        await store.append_trace(trace)
        assert admitted.exception() is None
        sealed = await store.write(lambda view: view.finish_seal("s"))
        assert (sealed.call_count, sealed.incomplete) == (2, False)

    async def test_a_call_of_a_deleted_session_that_ends_at_once_is_refused(self, store: Store) -> None:
        await store.append_trace(samples.trace("s"))
        await store.write(lambda view: view.delete_session("s"))
        trace = samples.trace("s")
        admitted = store.admit(samples.admission(of=trace), 1)
        with pytest.raises(SessionDeletedError):
            await store.append_trace(trace)
        assert isinstance(admitted.exception(), SessionDeletedError)
