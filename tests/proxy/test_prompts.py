"""What a session remembers of its prompts changes what reading the next one costs, never what it gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy import prompts as prompts_module
from rolltrace_proxy.prompts import Prompts
from rolltrace_proxy.tokens import pack_text
from tests.proxy.answers import ids as packed

IDS = st.integers(0, 30) | st.integers(-(2**31), 2**31 - 1) | st.integers()
TEXTS = st.lists(IDS, max_size=8).map(lambda ids: json.dumps(ids, separators=(",", ":")).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A list of ids as text, at times with a few bytes in the place of others."""
    text, at = draw(TEXTS), draw(st.integers(0, 12))
    other = draw(st.sampled_from([b"", b"1", b",", b" ", b"]", b"[", b"-", b"null", b"1.0", b'"']))
    return text[:at] + other + text[at + draw(st.integers(0, 2)) :]


@st.composite
def turns(draw: st.DrawFn) -> list[bytes]:
    """Texts that begin like one before, cut anywhere and continued."""
    texts = [draw(TEXTS)]
    for _ in range(draw(st.integers(1, 6))):
        before = draw(st.sampled_from(texts))
        texts.append(before[: draw(st.integers(0, len(before)))] + draw(TEXTS | damaged())[1:])
    return texts


@settings(max_examples=400, deadline=None)
@given(turns(), st.integers(0, 4000))
def test_a_prompt_is_read_as_if_it_were_the_first(texts: list[bytes], limit: int) -> None:
    known = Prompts(limit)
    for text in texts:
        assert known.of("s")(text) == pack_text(text), text


def test_an_id_that_goes_on_after_what_is_known_is_another_id() -> None:
    read = Prompts().of("s")
    for ids in ([1, 12], [1, 123], [1, 12, 3], [1, 1], [1], [2], [1, 12]):
        assert read(json.dumps(ids, separators=(",", ":")).encode()) == packed(ids)
    assert read(b"[1,12") is None
    assert read(b"[1,12,]") is None


@pytest.fixture
def read_anew(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that were parsed."""
    parsed: list[bytes] = []

    def pack(text: bytes) -> bytes | None:
        parsed.append(text)
        return pack_text(text)

    monkeypatch.setattr(prompts_module, "pack_text", pack)
    return parsed


def test_only_what_is_new_is_parsed(read_anew: list[bytes]) -> None:
    read = Prompts().of("s")
    for text in (b"[10,20,30]", b"[10,20,30]", b"[10,20,30,40]", b"[10,20,30,45,50]"):
        read(text)
    assert read_anew == [b"[10,20,30]", b"[40]", b"[45,50]"]


def test_interleaved_sub_agents_each_find_their_own(read_anew: list[bytes]) -> None:
    read = Prompts().of("s")
    shared = b"[" + b"7," * 50
    one, other = shared + b"1," * 50, shared + b"3," * 50
    for text in (one + b"1]", other + b"3]", one + b"1,2]", other + b"3,4]"):
        read(text)
    assert read_anew[-2:] == [b"[2]", b"[4]"]


def test_sessions_do_not_share_and_the_least_recently_used_goes_first(read_anew: list[bytes]) -> None:
    text = b"[" + b"7," * 100 + b"1]"
    known = Prompts(limit_bytes=2500)
    for session in ("a", "b", "a", "c", "a", "b"):
        known.of(session)(text)
    assert len(read_anew) == 4  # b was forgotten for c
    assert 0 < known.size <= 2500
    known.of("d")(b"[" + b"1," * 3000 + b"1]")
    assert known.size == 0


def test_a_session_has_a_few_prompts_however_many_it_had() -> None:
    known = Prompts()
    for first in range(100):
        known.of("s")(json.dumps([first] * 50).encode())
    assert known.size < 5 * 1000
