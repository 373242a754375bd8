"""A health check as it goes over the wire, and what becomes of strange answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from rolltrace_control.http_check import MAX_ANSWER, answer_of, status_of
from tests.certificates import Authority, server_context
from tests.servers import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
PATIENCE = 20.0


@asynccontextmanager
async def answering(
    answer: bytes | None, seen: list[bytes], authority: Authority | None = None
) -> AsyncGenerator[int]:
    """A server that keeps what it is asked, answers (None: never) and hangs up; gives its port."""
    ends: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # who does not trust it hangs up
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    context = server_context(authority.issue()) if authority else None
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port
        await asyncio.gather(*ends)


async def status(url: str, ca_pem: str | None = "") -> int:
    return await status_of(url, ca_pem, connect=PATIENCE, total=PATIENCE)


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("/a b/ü/health", "/a%20b/%C3%BC/health")])
async def test_it_asks_as_a_browser_would(path: str, asked: str) -> None:
    seen: list[bytes] = []
    async with answering(OK, seen) as port:
        assert await status(f"http://127.0.0.1:{port}{path}") == 200
    head = f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    assert seen == [head.encode()]


@pytest.mark.parametrize(
    ("answer", "found"), [(b"HTTP/1.0 503 \r\n", 503), (b"HTTP/1.1 204\r\n", 204), (b"HTTP/1.1 302 F", 302)]
)
async def test_only_the_status_line_is_read(answer: bytes, found: int) -> None:
    async with answering(answer, []) as port:
        assert await status(f"http://127.0.0.1:{port}") == found


@pytest.mark.parametrize(
    ("answer", "words"), [(b"SSH-2.0-x\r\n", "not speak HTTP"), (b"", "hung up"), (b"x" * 200_000, "limit")]
)
async def test_what_is_not_http_is_an_error(answer: bytes, words: str) -> None:
    async with answering(answer, []) as port:
        with pytest.raises((ValueError, OSError), match=words):
            await status(f"http://127.0.0.1:{port}")


async def test_a_certificate_must_descend_from_what_is_trusted(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with answering(OK, [], authority) as port:
        url = f"https://127.0.0.1:{port}/health"
        assert await status(url, authority.pem) == 200
        assert await status(url, None) == 200
        for pem in (other.pem, ""):
            with pytest.raises(OSError, match="certificate verify failed"):
                await status(url, pem)


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        await status(f"http://127.0.0.1:{free_port()}")


async def test_time_is_limited() -> None:
    async with answering(None, []) as port:
        with pytest.raises(TimeoutError):
            await status_of(f"http://127.0.0.1:{port}", "", connect=PATIENCE, total=0.1)


@pytest.mark.parametrize(
    "framed",
    [
        b"content-length: 5\r\n\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"\r\nhello",
    ],
)
async def test_a_small_answer_is_read_however_it_is_framed(framed: bytes) -> None:
    seen: list[bytes] = []
    async with answering(b"HTTP/1.1 200 OK\r\n" + framed, seen) as port:
        url = f"http://127.0.0.1:{port}/v1/models"
        answer = await answer_of(url, "", "secret", connect=PATIENCE, total=PATIENCE)
    assert answer == (200, b"hello")
    assert b"\r\nAuthorization: Bearer secret\r\n" in seen[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-x\r\n", "not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "not speak HTTP"),
        (b"", "hung up"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * MAX_ANSWER, "more than"),
    ],
)
async def test_an_answer_that_is_not_http_or_without_end_is_an_error(answer: bytes, words: str) -> None:
    async with answering(answer, []) as port:
        with pytest.raises(ValueError, match=words):
            await answer_of(f"http://127.0.0.1:{port}", "", "", connect=PATIENCE, total=PATIENCE)
