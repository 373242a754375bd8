"""How an answer's bytes are read: where it ends, what is refused, and when a connection is used again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from rolltrace_proxy.errors import Fault, Refused
from tests.proxy.http1.wire import ABC, CHUNKED, OK, Seen, answering, client, read, read_until_refused, worker

CLOSE, KEEP = b"Connection: close\r\n", b"Connection: keep-alive\r\n"
OLD = b"HTTP/1.0 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"
LONG = b"x" * 70_000


@dataclass(frozen=True)
class Good:
    """`again`: the connection may carry another request."""

    name: str
    wire: bytes
    body: bytes = b"abc"
    again: bool = True
    closes: bool = False
    method: str = "POST"
    status: int = 200


GOOD = [
    Good("a length", ABC),
    Good("a length of nothing", OK + b"Content-Length: 0\r\n\r\n", b""),
    Good("a long body", OK + b"Content-Length: 70000\r\n\r\n" + LONG, LONG),
    Good("line ends in the body", OK + b"Content-Length: 8\r\n\r\n\r\n\r\n0\r\n\r", b"\r\n\r\n0\r\n\r"),
    Good("chunks", CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
    Good("no chunk but the last", CHUNKED + b"0\r\n\r\n", b""),
    Good("line ends in a chunk", CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    Good("sizes in capitals and zeros", CHUNKED + b"00A\r\n0123456789\r\n0b\r\n0123456789a\r\n000\r\n\r\n",
         b"01234567890123456789a"),
    Good("a space behind a size", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    Good("extensions", CHUNKED + b'3;a=b;c="d;\\"e"\r\nabc\r\n0;f\r\n\r\n'),
    Good("trailers", CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    Good("capitals", OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    Good("a long chunk", CHUNKED + b"11170\r\n" + LONG + b"\r\n0\r\n\r\n", LONG),
    Good("no length", OK + b"\r\nabc", again=False, closes=True),
    Good("no length and no body", OK + b"\r\n", b"", again=False, closes=True),
    Good("identity", OK + b"Transfer-Encoding: identity\r\n\r\nabc", again=False, closes=True),
    Good("a length and a close", OK + CLOSE + b"Content-Length: 3\r\n\r\nabc", again=False),
    Good("chunks and a close", OK + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         again=False),
    Good("HTTP/1.0", OLD + b"\r\nabc", again=False, closes=True),
    Good("HTTP/1.0 with a length", OLD + b"Content-Length: 3\r\n\r\nabc", again=False),
    Good("HTTP/1.0 that keeps", OLD + KEEP + b"Content-Length: 3\r\n\r\nabc"),
    Good("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", status=204),
    Good("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", b"", status=204),
    Good("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", b"", status=304),
    Good("304 in chunks", b"HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n", b"", status=304),
    # The parser can't be told that nothing follows, so that what follows would be taken for the body.
    Good("HEAD", OK + b"Content-Length: 3\r\n\r\n", b"", again=False, method="HEAD"),
    Good("HEAD of chunks", CHUNKED, b"", again=False, method="HEAD"),
    Good("HEAD of no length", OK + b"\r\n", b"", again=False, method="HEAD"),
    Good("GET", ABC, method="GET"),
    Good("1xx before", CONTINUE + HINTS + CONTINUE + ABC),
    Good("an error", b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 3\r\n\r\nabc", status=429),
    Good("an odd status", b"HTTP/1.1 799 Odd\r\nContent-Length: 3\r\n\r\nabc", status=799),
    Good("no reason", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc"),
    Good("an upgrade that is only offered", OK + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + ABC[len(OK) :]),
    Good("line feeds alone", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"),
    Good("empty lines before", b"\r\n\r\n" + ABC),
    Good("garbage behind", ABC + b"garbage", again=False),
    Good("another answer behind", ABC + ABC, again=False),
    Good("the beginning of another answer behind", ABC + b"HTTP/1.1 20", again=False),
    Good("an empty line behind", ABC + b"\r\n"),
    Good("garbage behind the last chunk", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n0\r\n\r\n", again=False),
    Good("more than the length says", OK + b"Content-Length: 3\r\n\r\nabcd", again=False),
    Good("garbage behind a close", OK + CLOSE + b"Content-Length: 3\r\n\r\nabcd", again=False),
    Good("garbage behind a 204", b"HTTP/1.1 204 No\r\n\r\nabc", b"", again=False, status=204),
]  # fmt: skip


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
async def test_an_answer_and_whether_its_connection_is_used_again(case: Good) -> None:
    serve = answering(case.wire, ABC, closes=case.closes)
    async with worker(serve) as served, client() as us:
        response, body = await us.ask(served, case.method)
        assert (response.status, body) == (case.status, case.body)
        assert (await us.ask(served))[1] == b"abc"
        assert len(served.connections) == (1 if case.again else 2)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
async def test_an_answer_is_the_same_however_it_is_cut(case: Good) -> None:
    size = 1 if len(case.wire) < 1000 else 4099
    async with worker(answering(case.wire, closes=case.closes, size=size)) as served, client() as us:
        response, body = await us.ask(served, case.method)
        assert (response.status, body) == (case.status, case.body)


BAD = {
    "no HTTP": b"garbage\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no version": b"HTTP/0.9 200 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 OK\r\n\r\n",
    "a status of zero": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "a protocol nobody asked for": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
    "101 without a protocol": b"HTTP/1.1 101 S\r\n\r\n",
    "a coding nobody asked for": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding until the close": OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "chunks that are not last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "a length below zero": OK + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": OK + b"Content-Length: +3\r\n\r\nabc",
    "a length of letters": OK + b"Content-Length: x\r\n\r\n",
    "no length where one is named": OK + b"Content-Length:\r\n\r\n",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a folded line": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a folded coding": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 3\r\n\r\nabc",
    "a NUL": OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"X\r\nContent-Length: 0\r\n\r\n",
    "an empty name": OK + b": x\r\nContent-Length: 0\r\n\r\n",
    "a header without end": OK + b"X: " + b"x" * 70_000,
    "a header too large": OK + b"X: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "too many fields": OK + b"X: y\r\n" * 12_000 + b"Content-Length: 0\r\n\r\n",
    "a reason without end": b"HTTP/1.1 200 " + b"x" * 70_000,
    "1xx without end": HINTS * 2000,
}  # fmt: skip


@pytest.mark.parametrize("size", [0, 997], ids=["whole", "cut"])
@pytest.mark.parametrize("wire", BAD.values(), ids=BAD.keys())
async def test_what_cannot_be_passed_on_is_refused(wire: bytes, size: int) -> None:
    async with worker(answering(wire, size=size)) as served, client() as us:
        with pytest.raises(Refused) as refused:
            await us.send(served)
        assert refused.value.fault is Fault.DISCONNECTED
        await us.all_closed()


BAD_BODIES = {
    "a size of letters": b"x\r\n",
    "no size": b"\r\nabc\r\n",
    "a size with a sign": b"+3\r\nabc\r\n",
    "a size beyond 64 bits": b"f" * 17 + b"\r\n",
    "more than the size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a size that ends in a line feed": b"3\nabc\r\n0\r\n\r\n",
    "a length in the trailers": b"0\r\nContent-Length: 3\r\n\r\n",
    "extensions without end": b"3;" + b"x" * 70_000,
    "a trailer without end": b"0\r\nX: " + b"x" * 70_000,
    "trailers without end": b"0\r\n" + b"X: y\r\n" * 20_000,
}


@pytest.mark.parametrize("size", [1, 997], ids=["byte by byte", "cut"])
@pytest.mark.parametrize("wire", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_what_came_before_a_bad_chunk_is_read(wire: bytes, size: int) -> None:
    size = 997 if len(wire) > 1000 else size
    async with worker(answering(CHUNKED + b"3\r\nxyz\r\n" + wire, size=size)) as served, client() as us:
        got, refused = await read_until_refused(await us.send(served))
        assert got[:3] == b"xyz"
        assert set(got[3:]) <= set(b"abc")
        assert refused is not None
        assert refused.fault is Fault.DISCONNECTED
        await us.all_closed()


@pytest.mark.parametrize("wire", [ABC, CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"], ids=["length", "chunks"])
async def test_a_worker_that_goes_at_any_byte(wire: bytes) -> None:
    cuts = itertools.count()

    async def serve(seen: Seen) -> None:
        await seen.request()
        await seen.write(wire[: next(cuts)])

    header = wire.index(b"\r\n\r\n") + 4
    async with worker(serve) as served, client() as us:
        for at in range(len(wire)):
            if at < header:
                with pytest.raises(Refused) as raised:
                    await us.send(served)
                refused: Refused | None = raised.value
            else:
                got, refused = await read_until_refused(await us.send(served))
                assert b"abc".startswith(got)
                assert at < len(wire) - 1 or got == b"abc"[: 2 if wire is ABC else 3]
            assert refused is not None
            assert refused.fault is Fault.DISCONNECTED
        assert len(served.connections) == len(wire), "the model must not run twice"


async def test_fields_are_as_they_came() -> None:
    header = b"X-A: 1\r\nx-a:2\r\nEmpty:\r\nB: \t \xc3\xa9\xff b \t \r\nContent-Length: 0\r\n\r\n"
    answers = answering(b"HTTP/1.1 200 All \xc3\xa9\r\n" + header, size=1)
    async with worker(answers) as served, client() as us:
        response = await us.send(served)
        assert response.reason == "All é"
        assert response.fields == [
            ("X-A", "1"),
            ("x-a", "2"),
            ("Empty", ""),
            ("B", "é\udcff b"),
            ("Content-Length", "0"),
        ]
        response.close()


async def test_trailers_and_what_1xx_said_are_no_fields() -> None:
    async with worker(answering(HINTS + CHUNKED + b"0\r\nX: 1\r\n\r\n")) as served, client() as us:
        response, _ = await us.ask(served)
        assert (response.status, response.reason) == (200, "OK")
        assert response.fields == [("Transfer-Encoding", "chunked")]


async def test_a_header_of_just_the_limit_is_taken() -> None:
    field = b"X: " + b"x" * (1024 - len(b"X: \r\nContent-Length: 0\r\n")) + b"\r\n"
    wire = b"HTTP/1.1 200\r\n" + field + b"Content-Length: 0\r\n\r\n"
    async with worker(answering(wire)) as served, client(max_header_size=1024) as us:
        assert (await us.ask(served))[0].status == 200
    async with worker(answering(wire.replace(b"X:", b"XX:"))) as served, client(max_header_size=1024) as us:
        with pytest.raises(Refused, match="--max-header-size"):
            await us.send(served)


async def test_a_burst_is_one_read() -> None:
    wire = CHUNKED + b"3\r\nabc\r\n" * 100 + b"0\r\n\r\n"
    async with worker(answering(wire)) as served, client() as us:
        response = await us.send(served)
        assert await response.read() == b"abc" * 100
        assert await read(response) == b""
        assert await read(response) == b"", "the end stays the end"
