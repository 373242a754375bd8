"""The specification of server-sent events, read the plain way: what the framing is compared with."""

from __future__ import annotations

import re


def data_of(stream: bytes) -> list[bytes]:
    """The specification's algorithm, on a whole stream."""
    found: list[bytes] = []
    data: list[bytes] = []
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not line:
            found += [b"\n".join(data)] if data else []
            data = []
        elif line.partition(b":")[0] == b"data":
            data.append(line.partition(b":")[2].removeprefix(b" "))
    return found
