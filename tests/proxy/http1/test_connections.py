"""Connections to workers: used again or not, closed whatever happens, and no faster than who reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1 import pool, response
from tests.certificates import Authority, server_context
from tests.proxy.http1.wire import (
    ABC,
    CHUNKED,
    OK,
    PATIENCE,
    Held,
    Seen,
    answering,
    client,
    read,
    read_until_refused,
    soon,
    worker,
)


@pytest.fixture
def kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEPALIVE", 1e9)


# When a connection is used again.


async def test_one_connection_serves_call_after_call() -> None:
    async with worker(answering(ABC)) as served, client() as us:
        for _ in range(20):
            assert (await us.ask(served))[1] == b"abc"
        assert (len(served.connections), us.open) == (1, 1)


async def test_an_answer_closed_at_its_end_unread_keeps_the_connection() -> None:
    async with worker(answering(ABC)) as served, client() as us:
        unread = await us.send(served)
        unread.close()
        unread.close()
        (await us.send(served)).close()
        assert len(served.connections) == 1


async def test_an_old_answer_has_no_hold_on_its_connection() -> None:
    async with worker(answering(ABC)) as served, client() as us:
        old, _ = await us.ask(served)
        new = await us.send(served)
        old.close()
        assert await old.read() == b""
        assert await read(new) == b"abc"
        assert len(served.connections) == 1


async def test_what_comes_while_nobody_asks_ends_the_connection(kept_for_ever: None) -> None:
    go, gone = asyncio.Event(), asyncio.Event()

    async def serve(seen: Seen) -> None:
        await seen.request()
        await seen.write(ABC)
        await go.wait()
        await seen.write(OK + b"Content-Length: 4\r\n\r\nevil")
        await seen.wait_until_gone()
        gone.set()

    async with worker(serve) as served, client() as us:
        assert (await us.ask(served))[1] == b"abc"
        go.set()
        await soon(gone)
        assert us.open == 0


async def test_a_connection_that_its_worker_closed_is_not_used() -> None:
    async with worker(answering(ABC, closes=True)) as served, client() as us:
        for number in range(1, 4):
            assert (await us.ask(served))[1] == b"abc"
            await us.all_closed()
            assert len(served.connections) == number


async def test_an_idle_connection_is_closed_before_its_worker_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEPALIVE", 0.05)
    async with worker(answering(ABC)) as served, client(first_byte_timeout=0.2) as us:
        await us.ask(served)
        await us.all_closed()
        await us.ask(served)
        assert len(served.connections) == 2


async def test_an_idle_connection_too_old_is_not_used_though_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEPALIVE", 0.0)
    async with worker(answering(ABC)) as served, client() as us:
        await us.ask(served)
        await us.ask(served)
        assert len(served.connections) == 2


@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["", "a byte", "1xx"])
async def test_a_request_is_sent_again_only_when_nothing_came(said: bytes) -> None:
    requests = 0

    async def serve(seen: Seen) -> None:
        nonlocal requests
        while await seen.request():
            requests += 1
            if requests == 2:
                return await seen.write(said)
            await seen.write(ABC)
        return None

    async with worker(serve) as served, client() as us:
        await us.ask(served)
        if said:
            with pytest.raises(Refused, match="broke off"):
                await us.send(served)
            assert requests == 2
        else:
            assert (await us.ask(served))[1] == b"abc"
            assert (requests, len(served.connections)) == (3, 2)


async def test_a_time_out_is_no_reason_to_send_again() -> None:
    requests = 0

    async def serve(seen: Seen) -> None:
        nonlocal requests
        while await seen.request():
            requests += 1
            if requests == 1:
                await seen.write(ABC)

    async with worker(serve) as served, client(first_byte_timeout=0.1) as us:
        await us.ask(served)
        with pytest.raises(Refused) as refused:
            await us.send(served)
        assert refused.value.fault is Fault.TIMEOUT_FIRST_BYTE
        assert requests == 2


# What is sent.


async def test_a_request_is_what_was_asked_for_and_no_more() -> None:
    wanted: list[bytes] = []

    async def serve(seen: Seen) -> None:
        while True:
            wanted.append(await seen.request())
            await seen.write(ABC)

    async with worker(serve) as served, client() as us:
        big = bytes(range(256)) * 40_000
        for method, body in (("POST", b"{}"), ("POST", b""), ("GET", b""), ("PUT", big)):
            response = await us.send(served, method, body, [("A", "é\udcff"), ("a", "")])
            assert await read(response) == b"abc"
    host = b"Host: 127.0.0.1:%d\r\n" % served.port
    head = b" /v1/x HTTP/1.1\r\n" + host + b"A: \xc3\xa9\xff\r\na: \r\n"
    assert wanted == [
        b"POST" + head + b"Content-Length: 2\r\n\r\n{}",
        b"POST" + head + b"Content-Length: 0\r\n\r\n",
        b"GET" + head + b"\r\n",
        b"PUT" + head + b"Content-Length: %d\r\n\r\n" % len(big) + big,
    ]


async def test_an_answer_before_the_request_was_taken_whole(kept_for_ever: None) -> None:
    async def serve(seen: Seen) -> None:
        await seen.reader.readuntil(b"\r\n\r\n")
        await seen.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nabc")
        await asyncio.Event().wait()

    async with worker(serve) as served, client() as us:
        response = await us.send(served, body=b"x" * (32 << 20))
        assert (response.status, await read(response)) == (413, b"abc")
        await us.all_closed()  # the rest of the body is nobody's


# Time-outs.


async def test_a_header_that_drips_is_late() -> None:
    async def serve(seen: Seen) -> None:
        await seen.request()
        for at in range(len(ABC)):
            await seen.write(ABC[at : at + 1])
            await asyncio.sleep(0.05)

    async with worker(serve) as served, client(first_byte_timeout=0.2) as us:
        with pytest.raises(Refused) as refused:
            await us.send(served)
        assert refused.value.fault is Fault.TIMEOUT_FIRST_BYTE
        await us.all_closed()


async def test_a_body_that_drips_is_not() -> None:
    async def serve(seen: Seen) -> None:
        await seen.request()
        await seen.write(OK + b"Content-Length: 10\r\n\r\n")
        for _ in range(10):
            await seen.write(b"x")
            await asyncio.sleep(0.1)

    async with worker(serve) as served, client(first_byte_timeout=0.6, idle_timeout=0.6) as us:
        assert await read(await us.send(served)) == b"x" * 10


@pytest.mark.parametrize(
    ("before", "fault"), [(b"", Fault.TIMEOUT_FIRST_BYTE), (b"2\r\nab\r\n", Fault.TIMEOUT_IDLE)]
)
async def test_a_body_that_stops(before: bytes, fault: Fault) -> None:
    held = Held(CHUNKED + before)
    async with worker(held) as served, client(first_byte_timeout=0.2, idle_timeout=0.2) as us:
        got, refused = await read_until_refused(await us.send(served))
        assert got == (b"ab" if before else b"")
        assert refused is not None
        assert refused.fault is fault
        await soon(held.gone)


async def test_an_answer_that_is_all_here_is_never_late() -> None:
    async with worker(answering(ABC)) as served, client(first_byte_timeout=0.05, idle_timeout=0.05) as us:
        response = await us.send(served)
        await asyncio.sleep(0.3)
        assert await read(response) == b"abc"


# A reader that lags.


async def test_a_reader_that_lags_pauses_its_worker() -> None:
    size, sent, ended = 48 << 20, 0, asyncio.Event()

    async def serve(seen: Seen) -> None:
        nonlocal sent
        await seen.request()
        await seen.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        while sent < size:
            seen.writer.write(bytes(1 << 18))
            sent += 1 << 18
            await seen.writer.drain()
        ended.set()
        await seen.wait_until_gone()

    async with worker(serve) as served, client(idle_timeout=0.3) as us:
        lagging = await us.send(served)
        await asyncio.sleep(1.0)
        assert not ended.is_set()
        assert sent < size // 2
        first = await lagging.read()
        assert response.UNREAD < len(first) < response.UNREAD + (1 << 20)
        rest = await read(lagging)
        assert len(first) + len(rest) == size
        await soon(ended)


async def test_a_reader_that_lags_can_leave() -> None:
    held = Held(OK + b"Content-Length: 9000000\r\n\r\n" + bytes(8_000_000))
    async with worker(held) as served, client() as us:
        lagging = await us.send(served)
        await soon(held.asked)
        await asyncio.sleep(0.05)
        lagging.close()
        await soon(held.gone)
        await us.all_closed()


async def test_many_calls_at_once() -> None:
    count, arrived, all_here = 1500, 0, asyncio.Event()

    async def serve(seen: Seen) -> None:
        nonlocal arrived
        await seen.request()
        arrived += 1
        if arrived == count:
            all_here.set()
        await seen.write(CHUNKED + b"3\r\nabc\r\n")
        await all_here.wait()
        await seen.write(b"1\r\nd\r\n0\r\n\r\n")
        await seen.request()

    async with worker(serve) as served, client(connect_timeout=PATIENCE) as us:
        answers = await asyncio.gather(*(us.ask(served) for _ in range(count)))
        assert [body for _, body in answers] == [b"abcd"] * count
        assert us.open == count


# TLS.


async def test_connections_are_not_shared_by_who_trusts_another_authority(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with worker(answering(ABC), server_context(ours.issue())) as served, client() as us:
        assert await read(await us.send(served, ca_pem=ours.pem)) == b"abc"
        for ca_pem in (theirs.pem, "", "no PEM"):
            with pytest.raises(Refused) as refused:
                await us.send(served, ca_pem=ca_pem)
            assert refused.value.fault is Fault.UNREACHABLE
        assert await read(await us.send(served, ca_pem=ours.pem)) == b"abc"


async def test_a_certificate_of_another_name_is_not_taken(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with (
        worker(answering(ABC), server_context(ours.issue("x", "else.where"))) as served,
        client() as us,
    ):
        with pytest.raises(Refused, match=r"127\.0\.0\.1") as refused:
            await us.send(served, ca_pem=ours.pem)
        assert refused.value.fault is Fault.UNREACHABLE


async def test_a_lagging_reader_over_tls(tmp_path: Path) -> None:
    ours, body = Authority(tmp_path), bytes(range(256)) * 20_000
    wire = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with worker(answering(wire), server_context(ours.issue())) as served, client() as us:
        for _ in range(2):
            lagging = await us.send(served, ca_pem=ours.pem, body=body)
            await asyncio.sleep(0.1)
            assert await read(lagging) == body
        assert len(served.connections) == 1
