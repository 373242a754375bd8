"""Agents' requests, by aiohttp's server."""

from __future__ import annotations

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from rolltrace_proxy.http1.interface import BodyBrokenError, BodyTooLargeError, Fields


class AiohttpRequest:
    """Implements interface.Request. `response` is what aiohttp is to be given in the end."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.method = request.method
        self.target = request.raw_path
        self.fields: Fields = list(request.headers.items())
        self.header_size = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        self.response: web.StreamResponse | None = None
        self._closes = False

    @property
    def status(self) -> int:
        return 0 if self.response is None else self.response.status

    def field(self, name: str) -> str | None:
        return self._request.headers.get(name)

    async def body(self, most: int) -> bytes:
        if (self._request.content_length or 0) > most:
            raise BodyTooLargeError
        try:
            return await self._request.read()
        except web.HTTPRequestEntityTooLarge:
            raise BodyTooLargeError from None
        except web.RequestPayloadError as error:
            raise BodyBrokenError(str(error)) from None

    async def begin(self, status: int, reason: str, fields: Fields) -> None:
        self.response = web.StreamResponse(status=status, reason=reason, headers=CIMultiDict(fields))
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        assert self.response is not None
        await self.response.write(data)

    async def end(self, data: bytes = b"") -> None:
        assert self.response is not None
        await self.response.write_eof(data)

    async def reply(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        answer = web.Response(status=status, reason=reason or None, body=body, headers=CIMultiDict(fields))
        if self._closes:
            answer.force_close()
        self.response = answer
        await answer.prepare(self._request)
        await answer.write_eof()

    def close_after(self) -> None:
        self._closes = True

    def break_off(self) -> None:
        """Without chunks only a reset tells the agent."""
        if self._request.transport is None:
            return
        if self._request.version >= HttpVersion11:
            self._request.transport.close()
        else:
            self._request.transport.abort()
