"""Makes nasty inputs of good ones, by small edits that a driver chooses (and hypothesis can shrink)."""

from __future__ import annotations

import re
from collections.abc import Iterable

Edit = tuple[int, int, int]
"""What to do, where, and with which of NASTY; any integers from 0 on."""

_TOKEN = re.compile(rb'"(?:[^"\\\r\n]|\\.){0,200}"|-?[0-9.]+|[A-Za-z_]+|\r\n|\S')
_DEEP = 3000

NASTY: tuple[bytes, ...] = (
    *(b"null", b"true", b"false", b"0", b"-1", b"1.0", b"-0.0", b"NaN", b"-Infinity", b"1e999", b"3.5e38"),
    *(b"2147483648", b"4294967296", b"18446744073709551616", b"1e-7", b"9" * 5000, b"0x" + b"f" * 5000),
    *(
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b'"\\ud83d"',
        b'"\\u0000"',
        b'"\xff"',
        b'"a\\nb"',
        b"\xf0\x9f\x98\x80",
    ),
    *(
        b"[" * _DEEP,
        b'{"a":' * _DEEP,
        b"[" * _DEEP + b"]" * _DEEP,
        b"- " * 400,
        b'{"a":' * 450 + b"1" + b"}" * 450,
    ),
    *(b"[DONE]", b"data: [DONE]\n\n", b"data:", b"data", b": c", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n"),
    *(
        b"\xef\xbb\xbf",
        b"\0",
        b" ",
        b"\t",
        b"\x0b",
        b"\x85",
        b"\xe2\x80\xa8",
        b"\xff\xfe",
        b"%2F",
        b"%00",
        b"%",
    ),
    *(b"..", b"%2e%2e", b"/", b"//", b"\\", b"/v1", b"/v1/", b"http://x", b"*", b":", b",", b"?", b"#", b"@"),
    *(
        b'"index":',
        b'"token_ids":[1,2]',
        b'"logprobs":{"content":[]}',
        b'"logprobs":{"token_logprobs":[null]}',
    ),
    *(b'"error":{"message":"x"}', b'"usage":{"prompt_tokens":1}', b'"delta":{}', b'"finish_reason":"stop"'),
    *(b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host:\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"0\r\n\r\n"),
    *(
        b"&a ",
        b"*a",
        b"!!int ",
        b"!!float ",
        b"!!bool ",
        b"!!timestamp ",
        b"!!binary ",
        b"<<: ",
        b"%YAML 1.1\n---\n",
    ),
    *(b"1:2:3", b"1:1" * 300, b"1_0", b"2001-99-99", b'"\\UFFFFFFFF"', b"ms", b"1.5GB", b"|", b">", b"---\n"),
)


def mutated(data: bytes, edits: Iterable[Edit]) -> bytes:
    """`data` after all edits."""
    for what, where, nasty in edits:
        data = _edited(data, what % 7, where, NASTY[nasty % len(NASTY)])
    return data


def _edited(data: bytes, what: int, where: int, nasty: bytes) -> bytes:
    at = where % (len(data) + 1)
    if what <= 2:
        start, end = _token(data, where)
        put = (nasty, nasty + data[start:end], b"")[what]
        return data[:start] + put + data[end:]
    if what == 3:
        return data[:at] + nasty + data[at:]
    if what == 4:
        return data[:at]
    if what == 5:
        return data[:at] + data[at : at + 64] + data[at:]
    return data[:at] + bytes((where >> 8 & 0xFF,)) + data[at + 1 :]


def _token(data: bytes, where: int) -> tuple[int, int]:
    """The place of a token of JSON, YAML or HTTP at or after a place."""
    at = where % (len(data) + 1)
    found = _TOKEN.search(data, at) or _TOKEN.search(data)
    return found.span() if found else (at, at)
