"""Which strings of a body are kept outside its record: images, audio and files in base64. Decisions only.

A run of LEAST bytes of base64's alphabet is one, wherever it stands: in a data URL, in the `data` of an audio
input or of an Anthropic source, in JSON within a string. Nothing is parsed or decoded, so whatever the body
is, putting the strings back gives it byte for byte. Words have spaces between them, and other scripts are no
base64, so a prompt is never cut.

Rule: the usual body has no such run, and that is found out by looking at every 128th of its bytes, in C.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from rolltrace.v1 import trace_pb2 as pb

LEAST = 8 << 10
"""What is shorter is not worth rows of its own; the delta to the turn before leaves it out as well."""

_STEP = 128
_ALPHABET = (string.ascii_letters + string.digits + "+/-_=").encode()
_MARKS = bytes(b"-+"[byte in _ALPHABET] for byte in range(256))
_RUN, _THIN_RUN = b"+" * LEAST, b"+" * (LEAST // _STEP)

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


def cut(trace: pb.Trace) -> Bodies | None:
    """What a FULL trace's bodies are cut into; None when there is nothing to cut."""
    request, response = trace.request_json, trace.response_json
    if not (
        (len(request) >= LEAST and _THIN_RUN in request[::_STEP].translate(_MARKS))
        or (len(response) >= LEAST and _THIN_RUN in response[::_STEP].translate(_MARKS))
    ):
        return None
    blobs: dict[bytes, bytes] = {}
    request, request_blobs = _without(request, blobs)
    response, response_blobs = _without(response, blobs)
    return Bodies(request, response, request_blobs, response_blobs, blobs) if blobs else None


def _without(body: bytes, blobs: dict[bytes, bytes]) -> tuple[bytes, list[pb.BlobPlace]]:
    """The body without its runs, and where they were; the runs are added to `blobs`."""
    marks = body.translate(_MARKS)
    kept: list[bytes] = []
    places: list[pb.BlobPlace] = []
    end = 0
    while (start := marks.find(_RUN, end)) >= 0:
        kept.append(body[end:start])
        end = marks.find(b"-", start)
        end = len(body) if end < 0 else end
        run = body[start:end]
        digest = sha256(run).digest()
        blobs[digest] = run
        places.append(pb.BlobPlace(position=start, blob=pb.Blob(digest=digest, size=len(run))))
    return b"".join([*kept, body[end:]]), places
