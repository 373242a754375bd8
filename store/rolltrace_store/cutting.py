"""Which strings of a body are kept outside its record: images, audio and files in base64. Decisions only.

A run of LEAST bytes of base64's alphabet is one, wherever it stands: in a data URL, in the `data` of an audio
input or of an Anthropic source, in JSON within a string. Nothing is parsed or decoded, so whatever the body
is, putting the strings back gives it byte for byte. Words have spaces between them, and other scripts are no
base64, so a prompt is never cut.

Rules: the usual body has no such run, and that is found out by looking at every 128th of its bytes, in C. An
agent sends its images again with every turn, and a group of agents the same ones, so the runs seen last are
remembered: one that comes again is compared, which takes a tenth of looking for its end and hashing it.
"""

from __future__ import annotations

import string
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from rolltrace.v1 import trace_pb2 as pb

LEAST = 8 << 10
"""What is shorter is not worth rows of its own; the delta to the turn before leaves it out as well."""

_STEP = 128
_HEAD = 64
_AT_ONCE = 64 << 10
_ALPHABET = (string.ascii_letters + string.digits + "+/-_=").encode()
_MARKS = bytes(b"-+"[byte in _ALPHABET] for byte in range(256))
_THIN_RUN = b"+" * (LEAST // _STEP)

Blobs: TypeAlias = Mapping[bytes, bytes]
"""Bytes that are kept as blobs, by their SHA-256."""
NO_BLOBS: Blobs = MappingProxyType({})


class Bodies(NamedTuple):
    """A trace's bodies without their blobs, where these belong, and the blobs."""

    request: bytes
    response: bytes
    request_blobs: list[pb.BlobPlace]
    response_blobs: list[pb.BlobPlace]
    blobs: Blobs


class Cutter:
    """Cuts bodies, and remembers runs of `limit` bytes in all, on which what it gives does not depend."""

    def __init__(self, limit: int) -> None:
        self.runs = Runs(limit)

    def cut(self, trace: pb.Trace) -> Bodies | None:
        """What a FULL trace's bodies are cut into; None when there is nothing to cut."""
        request, response = trace.request_json, trace.response_json
        if not (
            (len(request) >= LEAST and _THIN_RUN in request[::_STEP].translate(_MARKS))
            or (len(response) >= LEAST and _THIN_RUN in response[::_STEP].translate(_MARKS))
        ):
            return None
        blobs: dict[bytes, bytes] = {}
        request, request_blobs = self._without(request, blobs)
        response, response_blobs = self._without(response, blobs)
        return Bodies(request, response, request_blobs, response_blobs, blobs) if blobs else None

    def _without(self, body: bytes, blobs: dict[bytes, bytes]) -> tuple[bytes, list[pb.BlobPlace]]:
        """The body without its runs, and where they were; the runs are added to `blobs`."""
        thin = body[::_STEP].translate(_MARKS)
        kept: list[bytes] = []
        places: list[pb.BlobPlace] = []
        end = kept_from = 0
        while (sample := thin.find(_THIN_RUN, -(-end // _STEP))) >= 0:
            start = _begin(body, max(end, (sample - 1) * _STEP + 1), sample * _STEP)
            digest, run = self.runs.at(body, start)
            end = start + len(run)
            if len(run) >= LEAST:
                kept.append(body[kept_from:start])
                kept_from = end
                blobs[digest] = run
                places.append(pb.BlobPlace(position=start, blob=pb.Blob(digest=digest, size=len(run))))
        return b"".join([*kept, body[kept_from:]]), places


class Runs:
    """The runs seen last: `size` bytes, found by their first ones."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._runs: OrderedDict[bytes, bytes] = OrderedDict()
        self._by_head: dict[bytes, set[bytes]] = {}

    def at(self, body: bytes, start: int) -> tuple[bytes, bytes]:
        """The run that begins there, after its digest; a short one has none, and is not remembered."""
        for digest in self._by_head.get(body[start : start + _HEAD], ()):
            run = self._runs[digest]
            after = start + len(run)
            if body.startswith(run, start) and body[after : after + 1].translate(_MARKS) != b"+":
                self._runs.move_to_end(digest)
                return digest, run
        run = body[start : _end(body, start)]
        if len(run) < LEAST:
            return b"", run
        digest = sha256(run).digest()
        self._remember(digest, run)
        return digest, run

    def _remember(self, digest: bytes, run: bytes) -> None:
        self._runs[digest] = run
        self._by_head.setdefault(run[:_HEAD], set()).add(digest)
        self.size += len(run)
        while self.size > self._limit:
            gone, old = self._runs.popitem(last=False)
            self.size -= len(old)
            alike = self._by_head[old[:_HEAD]]
            alike.discard(gone)
            if not alike:
                del self._by_head[old[:_HEAD]]


def _begin(body: bytes, low: int, high: int) -> int:
    """Where the run that holds `high` begins, which is not before `low`."""
    low = max(low, 0)
    return low + body[low:high].translate(_MARKS).rfind(b"-") + 1


def _end(body: bytes, start: int) -> int:
    """Where the run that begins at `start` ends."""
    for at in range(start, len(body), _AT_ONCE):
        gap = body[at : at + _AT_ONCE].translate(_MARKS).find(b"-")
        if gap >= 0:
            return at + gap
    return len(body)
