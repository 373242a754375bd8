"""What every store must do with the policy; see contract.py."""

from __future__ import annotations

from functools import partial

import pytest

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import InvalidArgumentError, ReadView, Record, Store, WriteView


async def set_version(store: Store, version: str) -> Policy:
    return await store.write(lambda view: view.set_policy_version(version))


async def look(store: Store) -> tuple[Policy, int, list[Record]]:
    """The policy, the workers' revision, the log."""

    def work(view: ReadView) -> tuple[Policy, int, list[Record]]:
        return view.policy(), view.workers_revision(), list(view.events(0))

    return await store.read(work)


class PolicyContract:
    async def test_nobody_has_said_a_version(self, store: Store) -> None:
        assert await look(store) == (Policy(), 0, [])

    async def test_a_version_is_kept_and_logged_and_a_revision(self, store: Store) -> None:
        await store.write(lambda view: view.put_worker(Worker(worker_id="w")))
        said = await set_version(store, "17")
        kept, revision, log = await look(store)
        assert (kept.policy_version, kept) == ("17", said)
        assert kept.change_time.seconds > 0
        assert (revision, log[-1].sequence, log[-1].kind) == (2, 2, event.EVENT_KIND_POLICY_CHANGED)
        changed = event.PolicyChanged.FromString(log[-1].body)
        assert (changed.policy_version, changed.change_time) == ("17", kept.change_time)

    async def test_saying_it_again_changes_nothing(self, store: Store) -> None:
        await set_version(store, "17")
        before = await look(store)
        assert await set_version(store, "17") == before[0]
        assert await look(store) == before

    async def test_what_is_set_back_is_told_again(self, store: Store) -> None:
        for version in ("1", "2", "1"):
            await set_version(store, version)
        log = (await look(store))[2]
        assert [event.PolicyChanged.FromString(record.body).policy_version for record in log] == [
            "1",
            "2",
            "1",
        ]

    async def test_a_version_of_a_write_that_fails_was_never_said(self, store: Store) -> None:
        def work(view: WriteView) -> None:
            view.set_policy_version("17")
            assert view.policy().policy_version == "17"
            raise KeyError

        with pytest.raises(KeyError):
            await store.write(work)
        assert await look(store) == (Policy(), 0, [])

    @pytest.mark.parametrize("bad", ["", "a\n", "\x00", "x" * 201, "é" * 101])
    async def test_what_may_be_no_version(self, store: Store, bad: str) -> None:
        with pytest.raises(InvalidArgumentError) as refused:
            await store.write(partial(_set, version=bad))
        assert refused.value.field == "policy_version"
        await set_version(store, "é" * 100)


def _set(view: WriteView, version: str) -> Policy:
    return view.set_policy_version(version)
