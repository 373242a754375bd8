"""What is cut out of bodies, and that putting it back gives them byte for byte."""

from __future__ import annotations

import base64
import json
import random
import re
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace import compact
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.cutting import LEAST, Bodies, Cutter


def image(size: int = 3 * LEAST, seed: int = 0) -> bytes:
    """Base64 of so many bytes that cannot be compressed."""
    return base64.b64encode(random.Random(seed).randbytes(size))


def bodies(request: bytes = b"", response: bytes = b"", cutter: Cutter | None = None) -> Bodies | None:
    return (cutter or Cutter(0)).cut(pb.Trace(request_json=request, response_json=response))


def put_back(cut_out: Bodies) -> tuple[bytes, bytes]:
    bare = compact.Bare(
        pb.Trace(request_json=cut_out.request, response_json=cut_out.response),
        cut_out.request_blobs,
        cut_out.response_blobs,
    )
    full = compact.whole(bare, cut_out.blobs.__getitem__)
    return full.request_json, full.response_json


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,@"}},
        {"type": "input_audio", "input_audio": {"data": "@", "format": "wav"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "@"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,@"}},
        {"role": "tool", "content": json.dumps({"screenshot": "data:image/png;base64,@"})},
    ],
)
def test_what_the_apis_carry_is_cut_out_by_its_base64_alone(part: object) -> None:
    data = image()
    request = json.dumps({"messages": [part]}).encode().replace(b"@", data)
    found = bodies(request)
    assert found is not None
    assert dict(found.blobs) == {sha256(data).digest(): data}
    assert found.request == request.replace(data, b"")
    (place,) = found.request_blobs
    assert (place.position, place.blob.size) == (request.index(data), len(data))
    assert put_back(found) == (request, b"")


def test_one_image_in_two_places_is_one_blob() -> None:
    data = image()
    found = bodies(b'["%b","%b"]' % (data, data), b'"%b"' % data)
    assert found is not None
    assert (len(found.blobs), len(found.request_blobs), len(found.response_blobs)) == (1, 2, 1)
    assert put_back(found) == (b'["%b","%b"]' % (data, data), b'"%b"' % data)


@pytest.mark.parametrize(
    "text",
    [
        "the quick brown fox jumps over the lazy dog " * 2000,
        "def f(x):\n    return x\n" * 2000,
        "床前明月光" * 4000,
        "x, " * 9000,
        "https://example.org/" + "a" * (LEAST - 100),
        "| " + "-" * 77 + " |\n" + "cell " * 9000,
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_prompt_is_not_cut(text: str, ascii_only: bool) -> None:
    request = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only)
    assert bodies(request.encode()) is None


def test_what_is_long_enough_is_cut_wherever_it_begins() -> None:
    """Only every 128th byte is looked at first."""
    run = b"A" * LEAST
    for before in range(0, 300, 7):
        body = b" " * before + run + b" " * (before % 5)
        found = bodies(body)
        assert found is not None
        assert (list(found.blobs.values()), found.request_blobs[0].position) == ([run], before)
        assert bodies(body.replace(run, run[:-1])) is None


_PARTS = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b'"', b"\\", b"data:image/png;base64,", b"A" * (LEAST - 1), b"B" * LEAST, b"=="]),
    st.integers(LEAST - 3, LEAST + 3).map(lambda size: b"c" * size),
    st.integers(0, 3).map(lambda seed: image(seed=seed)),
)


RUN = re.compile(rb"[A-Za-z0-9+/=_-]{%d,}" % LEAST)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.lists(_PARTS, max_size=8), st.lists(_PARTS, max_size=4)), max_size=4))
def test_whatever_a_body_is_it_comes_back(calls: list[tuple[list[bytes], list[bytes]]]) -> None:
    """And what is cut out does not depend on what was cut before."""
    cutters = [Cutter(limit) for limit in (0, 5 * LEAST, 1 << 30)]
    for request, response in calls:
        whole = b"".join(request), b"".join(response)
        runs = {sha256(run).digest(): run for body in whole for run in RUN.findall(body)}
        for cutter in cutters:
            found = bodies(*whole, cutter)
            assert (dict(found.blobs) if found else {}) == runs
            assert (put_back(found) if found else whole) == whole


def only_blob(data: bytes, cutter: Cutter) -> bytes:
    found = bodies(b'"%b"' % data, b"", cutter)
    assert found is not None
    (run,) = found.blobs.values()
    assert run == data
    return run


def test_what_is_remembered_is_bounded_and_what_was_used_stays() -> None:
    cutter, images = Cutter(100_000), [image(30_000, seed) for seed in range(3)]  # of 40,000 bytes
    first, second = only_blob(images[0], cutter), only_blob(images[1], cutter)
    assert only_blob(images[0], cutter) is first
    only_blob(images[2], cutter)
    assert cutter.runs.size == 80_000
    assert only_blob(images[0], cutter) is first
    assert only_blob(images[1], cutter) is not second
    assert cutter.runs.size == 80_000


def test_runs_that_begin_alike_are_told_apart() -> None:
    cutter, data = Cutter(1 << 20), image()
    for run in (data[:-1], data, data + b"A", data[:-1]):
        only_blob(run, cutter)


def test_a_blob_that_does_not_fit_is_told() -> None:
    place = pb.BlobPlace(position=3, blob=pb.Blob(digest=bytes(32), size=2))
    bare = compact.Bare(pb.Trace(request_json=b"abcd"), [place])
    assert compact.whole(bare, lambda _: b"xy").request_json == b"abcxyd"
    for broken in (b"x", b"xyz"):
        with pytest.raises(compact.ExpandError, match="does not fit"):
            compact.whole(bare, {bytes(32): broken}.__getitem__)
    for position in (5, 2):
        again = pb.BlobPlace(position=position, blob=place.blob)
        places = [place, again] if position == 2 else [again]
        with pytest.raises(compact.ExpandError, match="does not fit"):
            compact.whole(compact.Bare(bare.trace, places), lambda _: b"xy")
