"""Text to ids and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_demo.byte_tokens import (
    IM_END,
    IM_START,
    TOOL_CALL,
    decode,
    encode,
    open_character,
    shown_token,
)

MARKED = st.lists(st.sampled_from(["<|im_end|>", "<tool_call>", "<|", "é", "a\n", "—"])).map("".join)


def test_marks_are_single_ids() -> None:
    assert encode("<|im_start|>a<tool_call>é") == [IM_START, 97, TOOL_CALL, 0xC3, 0xA9]


@given(st.text() | MARKED)
def test_any_text_survives(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    assert decode(encode(text)) == clean


@pytest.mark.parametrize("text", ["a", "é", "°", "—", "🙂"])
def test_a_character_is_open_until_its_last_byte_and_named_there(text: str) -> None:
    ids = encode(text)
    for cut in range(len(ids)):
        assert open_character([97, *ids[:cut]]) == bytes(ids[:cut])
        name = text if cut == len(ids) - 1 else ""
        assert shown_token([97, *ids[:cut]], ids[cut]) == name
    assert open_character([97, *ids]) == b""


def test_a_mark_is_named_by_its_text() -> None:
    assert shown_token([0xC3], IM_END) == "<|im_end|>"
