"""Pieces of an answer that are handed on as they come: none is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.response import UNREAD, WorkerResponse
from tests.proxy.http1.wire import ABC, CHUNKED, OK

CHUNKS = CHUNKED + b"1\r\na\r\n2\r\nbc\r\n4\r\ndefg\r\n1\r\nh\r\n0\r\n\r\n"
WIRES = {CHUNKS: b"abcdefgh", ABC: b"abc", OK + b"\r\nabcdef": b"abcdef"}


class Line:
    """Says what became of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pause(self) -> None:
        self.said.append("pause")

    def resume(self) -> None:
        self.said.append("resume")

    def ended(self) -> None: ...

    def release(self) -> None:
        self.said.append("release")

    def abort(self) -> None:
        self.said.append("abort")


async def told(response: WorkerResponse, keeps_up: Iterator[bool]) -> tuple[bytes, Refused | None]:
    """The body as a call takes it in, and how it failed."""
    got: list[bytes] = []

    def take(data: bytes) -> bool:
        got.append(data)
        return next(keeps_up, True)

    try:
        while data := await response.read():
            got.append(data)
            await response.each(take)
    except Refused as refused:
        return b"".join(got), refused
    return b"".join(got), None


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(WIRES)),
    st.lists(st.integers(1, 20), max_size=60),
    st.lists(st.booleans()),
    st.lists(st.booleans()),
    st.integers(0, 200),
)
def test_every_piece_once_however_they_come(
    wire: bytes, sizes: list[int], turns: list[bool], keeps_up: list[bool], lost: int
) -> None:
    async def told_all() -> tuple[bytes, Refused | None]:
        response, left, now = (
            WorkerResponse(Line(), "POST", 1 << 16),
            wire[: len(wire) - lost % 3],
            iter(turns),
        )
        reading = asyncio.create_task(told(response, iter(keeps_up)))
        for size in sizes:
            piece, left = left[:size], left[size:]
            if piece:
                response.feed(piece)
            if next(now, True):
                await asyncio.sleep(0)
        if left:
            response.feed(left)
        response.cut(None)
        return await reading

    got, refused = asyncio.run(told_all())
    whole = WIRES[wire]
    if lost % 3 == 0:
        assert (got, refused) == (whole, None)
    elif wire.startswith(OK + b"\r\n"):
        assert (got, refused) == (whole[: -(lost % 3)], None)
    else:
        assert whole.startswith(got)
        assert len(got) >= len(whole) - 2
        assert refused is not None
        assert refused.fault is Fault.DISCONNECTED


async def begun(line: Line) -> WorkerResponse:
    response = WorkerResponse(line, "POST", 1 << 16)
    response.feed(CHUNKED + b"1\r\na\r\n")
    assert await response.read() == b"a"
    return response


async def test_what_taking_raises_is_raised_to_who_waits() -> None:
    line = Line()
    response = await begun(line)

    def take(_: bytes) -> bool:
        raise ConnectionResetError("The agent has gone.")

    waiting = asyncio.create_task(response.each(take))
    await asyncio.sleep(0)
    response.feed(b"1\r\nb\r\n")
    response.feed(b"1\r\nc\r\n")
    with pytest.raises(ConnectionResetError):
        await waiting
    response.close()
    assert line.said == ["abort"]


async def test_nothing_is_handed_to_who_was_cancelled() -> None:
    taken: list[bytes] = []
    response = await begun(Line())

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    waiting = asyncio.create_task(response.each(take))
    await asyncio.sleep(0)
    response.feed(b"1\r\nb\r\n")
    waiting.cancel()
    response.feed(b"1\r\nc\r\n")
    await asyncio.sleep(0)
    assert waiting.cancelled()
    assert taken == [b"b"]
    assert await response.read() == b"c"


async def test_a_worker_is_paused_when_the_agent_does_not_keep_up() -> None:
    line = Line()
    response = await begun(line)
    waiting = asyncio.create_task(response.each(lambda _: False))
    await asyncio.sleep(0)
    response.feed(b"1\r\nb\r\n")
    await waiting
    while not line.said:
        response.feed(b"1000\r\n" + bytes(4096) + b"\r\n")
    assert line.said == ["pause"]
    data = await response.read()
    assert UNREAD - 8192 < len(data) <= UNREAD + 4096
    assert line.said == ["pause", "resume"]
    response.close()
