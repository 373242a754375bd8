"""The writer's memory of sessions: all reads back, storage grows with what is new, memory is bounded."""

from __future__ import annotations

import os
import random
import tracemalloc
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace import compact
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store import delta
from rolltrace_store.history import CHAIN_RATIO, LOAD_COUNT, Encoded, Histories, Recent
from tests.store.sessions import Agent, ids, trace
from tests.store.test_cutting import image


@dataclass
class Disk:
    """What a store keeps, in memory."""

    bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    sessions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    loaded: int = 0

    def commit(self, batch: list[Encoded]) -> None:
        for encoded in batch:
            traces = self.sessions.setdefault(encoded.session_id, [])
            place = pb.Trace(sequence=len(self.bodies) + 1, call_index=len(traces))
            self.bodies[encoded.trace_id] = encoded.body + place.SerializeToString()
            traces.append(encoded.trace_id)

    def full(self, trace_id: str) -> pb.Trace:
        base: pb.Trace | None = None
        for link in reversed(self.chain(trace_id)):
            base = compact.expand(link, base, delta.decompress).trace
        assert base is not None
        return base

    def chain(self, trace_id: str) -> list[pb.Trace]:
        """From the trace back to its key frame."""
        links = [pb.Trace.FromString(self.bodies[trace_id])]
        while base := links[-1].compact.base_trace_id:
            links.append(pb.Trace.FromString(self.bodies[base]))
        return links

    def chain_bytes(self, trace_id: str) -> int:
        return sum(len(self.bodies[link.trace_id]) for link in self.chain(trace_id)[:-1])

    def load(self, session_id: str, from_index: int) -> list[Recent]:
        latest = self.sessions.get(session_id, [])[from_index:][-LOAD_COUNT:]
        self.loaded += len(latest)
        return [Recent(self.full(trace_id), self.chain_bytes(trace_id)) for trace_id in latest]

    def stored(self) -> int:
        return sum(map(len, self.bodies.values()))


def record(disk: Disk, histories: Histories, *traces: pb.Trace) -> list[pb.Trace]:
    """Encodes and commits a batch; returns it as stored."""
    batch = [histories.encode(one) for one in traces]
    disk.commit(batch)
    histories.committed(batch)
    return [pb.Trace.FromString(encoded.body) for encoded in batch]


def as_sent(disk: Disk, trace_id: str) -> pb.Trace:
    """The expanded trace without what recording added."""
    full = disk.full(trace_id)
    full.ClearField("sequence")
    full.ClearField("call_index")
    full.ClearField("parent_trace_id")
    return full


def context(one: pb.Trace, completion: int) -> bytes:
    return compact.context(one, completion)


def parent_of(new: pb.Trace, earlier: list[pb.Trace]) -> str:
    """The contract's words, read literally."""
    for one in reversed(earlier):
        for completion in range(max(len(one.completions), 1)):
            whole = context(one, completion)
            if whole and new.prompt_token_ids.startswith(whole):
                return one.trace_id
    return ""


@st.composite
def calls(draw: st.DrawFn, count: int) -> list[pb.Trace]:
    """Traces that continue, repeat or branch off from earlier ones, or are something new."""
    some_ids = st.lists(st.integers(0, 2), max_size=3).map(lambda numbers: ids(*numbers))
    made: list[pb.Trace] = []
    for _ in range(count):
        prompt, request = b"", draw(st.binary(max_size=3)) * 60
        goes_on = draw(st.booleans())
        if made and goes_on:
            base = draw(st.sampled_from(made))
            prompt = context(base, draw(st.integers(0, max(len(base.completions) - 1, 0))))
            request = base.request_json[:-1] + request + base.request_json[-1:]
        sampled = draw(st.lists(some_ids, max_size=2))
        made.append(trace(prompt + draw(some_ids), tuple(sampled), request, b"{}"))
    return made


@settings(max_examples=100)
@given(calls(7))
def test_every_trace_expands_and_has_its_parent(traces: list[pb.Trace]) -> None:
    disk = Disk()
    histories = Histories(disk.load)
    for index, one in enumerate(traces):
        (stored,) = record(disk, histories, one)
        assert stored.parent_trace_id == parent_of(one, traces[:index])
        assert as_sent(disk, one.trace_id) == one


@settings(max_examples=100)
@given(calls(14), st.lists(st.sampled_from(["commit", "roll back", "forget", "restart"])), st.data())
def test_rollback_eviction_and_restart_lose_nothing(
    traces: list[pb.Trace], ends: list[str], data: st.DataObject
) -> None:
    """Batches of any size over two sessions, in a memory that holds next to nothing."""
    disk = Disk()
    limit = data.draw(st.sampled_from([0, 1500, 1 << 20]))
    histories = Histories(disk.load, limit)
    for end in [*ends, "commit", "commit"]:
        size = data.draw(st.integers(0, 4))
        batch, traces = traces[:size], traces[size:]
        for one in batch:
            one.session_id = data.draw(st.sampled_from(["s", "t"]))
        encoded = [histories.encode(one) for one in batch]
        if end == "roll back":
            histories.rolled_back(encoded)
            continue
        disk.commit(encoded)
        histories.committed(encoded)
        if end == "forget":
            histories.forget("s")
        if end == "restart":
            histories = Histories(disk.load, limit)
        for one in batch:
            assert as_sent(disk, one.trace_id) == one


def test_storage_grows_with_what_is_new() -> None:
    disk = Disk()
    histories, agent = Histories(disk.load), Agent(seed=1)
    sizes: list[int] = []
    for _ in range(100):
        record(disk, histories, agent.turn())
        sizes.append(disk.stored())
    assert sizes[49] < 300_000
    assert sizes[99] <= 2.3 * sizes[49]


def test_growth_survives_restarts_and_eviction() -> None:
    disk = Disk()
    agents = [Agent(seed, f"session {seed}") for seed in range(2)]
    for _ in range(25):
        histories = Histories(disk.load, limit_bytes=1)
        for agent in agents:
            record(disk, histories, agent.turn())
    assert disk.loaded > 400
    assert disk.stored() < 2 * 150_000


def test_a_chain_is_no_longer_than_a_few_whole_records() -> None:
    disk = Disk()
    histories, agent = Histories(disk.load), Agent(seed=2)
    keys: list[int] = []
    for turn in range(60):
        one = agent.turn()
        (stored,) = record(disk, histories, one)
        alone = len(histories.encode_alone(one).body)
        assert disk.chain_bytes(one.trace_id) < (CHAIN_RATIO + 1) * alone
        if not stored.compact.base_trace_id:
            keys.append(turn)
    gaps = [later - earlier for earlier, later in pairwise(keys)]
    assert gaps == sorted(gaps)
    assert len(keys) < 7


def test_a_whole_record_never_takes_more_than_the_chain_it_ends() -> None:
    """What is new compresses far better than the rest, so the guess at a whole record's size is too low."""
    disk = Disk()
    histories, noise = Histories(disk.load), random.Random(3).randbytes(40_000)
    for turn in range(30):
        (stored,) = record(disk, histories, trace(request=noise + b"%d" % turn * 10_000))
        assert bool(stored.compact.base_trace_id) == (turn > 0)


def test_retries_of_one_call_all_rest_on_the_first() -> None:
    disk = Disk()
    histories, first = Histories(disk.load), Agent(seed=3).turn()
    record(disk, histories, first)
    for _ in range(50):
        again = pb.Trace()
        again.CopyFrom(first)
        again.trace_id = trace().trace_id
        (stored,) = record(disk, histories, again)
        assert stored.compact.base_trace_id == first.trace_id
    assert disk.stored() < 50 * 2500


def test_what_several_samples_have_in_common_is_held_once() -> None:
    disk = Disk()
    histories = Histories(disk.load)
    prompt, request = random.Random(5).randbytes(400_000), random.Random(6).randbytes(300_000)
    tracemalloc.start()
    try:
        for sampled in range(6):
            record(disk, histories, trace(prompt, (ids(sampled),), request=request))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held - disk.stored() < 2 * (len(prompt) + len(request))


def test_interleaved_agents_without_ids_each_find_their_own_end() -> None:
    disk = Disk()
    histories = Histories(disk.load)
    last: dict[int, str] = {}
    for turn in range(1, 6):
        for agent in range(4):
            words = random.Random(agent).randbytes(500 * turn)
            (stored,) = record(disk, histories, trace(request=b'{"input": "' + words + b'"}'))
            if turn in (2, 4, 5):
                assert stored.compact.base_trace_id == last[agent]
            last[agent] = stored.trace_id


def test_interleaved_agents_each_find_their_own_end() -> None:
    disk = Disk()
    histories = Histories(disk.load)
    agents = [Agent(seed) for seed in range(6)]
    last: dict[int, str] = {}
    for turn in range(4):
        for number, agent in enumerate(agents):
            one = agent.turn()
            (stored,) = record(disk, histories, one)
            assert stored.parent_trace_id == last.get(number, "")
            if turn in (1, 2):
                assert stored.compact.base_trace_id == last[number]
            last[number] = one.trace_id


def test_parents_in_the_same_batch() -> None:
    disk = Disk()
    agent = Agent(seed=4)
    stored = record(disk, Histories(disk.load), *(agent.turn() for _ in range(3)))
    assert [one.parent_trace_id for one in stored] == ["", stored[0].trace_id, stored[1].trace_id]


def test_a_branch_from_an_earlier_turn_finds_it() -> None:
    disk = Disk()
    histories, agent = Histories(disk.load), Agent(seed=5)
    turns = [agent.turn() for _ in range(6)]
    record(disk, histories, *turns)
    branch = trace(context(turns[2], 0) + ids(1, 2, 3), (ids(4),), turns[3].request_json)
    (stored,) = record(disk, histories, branch)
    assert stored.parent_trace_id == turns[2].trace_id


def test_failed_calls_and_other_endpoints_do_not_push_out_the_turns() -> None:
    """Without prompt ids they are written against earlier requests, and the next turn finds the last one."""
    disk = Disk()
    histories, agent = Histories(disk.load), Agent(seed=6)
    first, second = agent.turn(), agent.turn()
    record(disk, histories, first)
    for number in range(20):
        failed = trace(request=second.request_json)
        other = trace(request=b'{"input": "%d"}' % number * 40)
        stored, _ = record(disk, histories, failed, other)
        assert stored.compact.base_trace_id
        assert len(stored.SerializeToString()) < (2500 if number == 0 else 300)
    (stored,) = record(disk, histories, second)
    assert stored.parent_trace_id == first.trace_id
    assert len(stored.SerializeToString()) < 4500


def test_both_completions_can_be_continued() -> None:
    disk = Disk()
    histories = Histories(disk.load)
    first = trace(ids(*range(50)), (ids(1, 2), ids(3, 4)))
    both = [trace(context(first, completion) + ids(9)) for completion in (0, 1)]
    stored = record(disk, histories, first, *both)
    assert [one.parent_trace_id for one in stored[1:]] == [first.trace_id] * 2


def test_alone_is_neither_based_nor_remembered() -> None:
    disk = Disk()
    histories, agent = Histories(disk.load), Agent(seed=7)
    first, second = agent.turn(), agent.turn()
    disk.commit([histories.encode_alone(first)])
    assert as_sent(disk, first.trace_id) == first
    assert disk.loaded == 0
    (stored,) = record(disk, histories, second)
    assert stored.parent_trace_id == first.trace_id
    assert disk.loaded == 1


def test_a_session_that_moves_between_processes_keeps_its_parents() -> None:
    disk = Disk()
    both, agent = [Histories(disk.load), Histories(disk.load)], Agent(seed=8)
    last = ""
    for turn in range(6):
        (stored,) = record(disk, both[turn % 2], agent.turn())
        assert stored.parent_trace_id == last
        last = stored.trace_id
    assert disk.loaded == 5


def test_memory_is_bounded() -> None:
    disk = Disk()
    histories = Histories(disk.load, limit_bytes=60_000)
    agents = [Agent(seed, f"session {seed}") for seed in range(8)]
    for _ in range(3):
        for agent in agents:
            record(disk, histories, agent.turn())
            assert histories.size <= 60_000
    assert disk.loaded > len(agents)


def test_sessions_of_the_batch_are_not_evicted() -> None:
    """What is staged is not on the disk yet, so it could not be loaded."""
    disk = Disk()
    histories = Histories(disk.load, limit_bytes=1)
    one, other = Agent(1, "one"), Agent(2, "other")
    stored = record(disk, histories, one.turn(), other.turn(), one.turn(), other.turn())
    assert stored[2].parent_trace_id == stored[0].trace_id
    assert stored[3].parent_trace_id == stored[1].trace_id


def test_images_take_a_quarter_of_the_memory_at_most_and_sessions_make_way() -> None:
    limit = 200_000
    histories = Histories(Disk().load, limit)
    for number in range(60):
        request = os.urandom(3000) + b'"%b"' % image(10_000, number % 12)
        made = trace(ids(number), request=request, session_id=f"s-{number}")
        histories.committed([histories.encode(made)])
        assert histories.size + histories.runs.size <= limit
    assert limit // 8 < histories.runs.size <= limit // 4
    assert histories.size > limit // 2
