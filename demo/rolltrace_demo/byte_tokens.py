"""The demo worker's vocabulary: the 256 byte values, then a few marks.

A byte is its own token id, so any text has one spelling in ids and a trainer can read them by eye.
The marks are written out in templates and found again by `encode`, as a Hugging Face tokenizer
does with its added tokens. Marks in `HIDDEN` never show in an answer's text; the tool-call tags
do, since a parser has to find them.
"""

import re
from collections.abc import Iterable

ENDOFTEXT, IM_START, IM_END, TOOL_CALL, TOOL_CALL_END = range(256, 261)
MARKS: dict[int, str] = {
    ENDOFTEXT: "<|endoftext|>",
    IM_START: "<|im_start|>",
    IM_END: "<|im_end|>",
    TOOL_CALL: "<tool_call>",
    TOOL_CALL_END: "</tool_call>",
}
HIDDEN = frozenset({ENDOFTEXT, IM_START, IM_END})
VOCABULARY_SIZE = 256 + len(MARKS)

_IDS = {text: token_id for token_id, text in MARKS.items()}
_SPLIT = re.compile("(" + "|".join(re.escape(text) for text in _IDS) + ")")


def encode(text: str) -> list[int]:
    """The ids of a text. A lone surrogate, which JSON can carry, becomes a question mark."""
    ids: list[int] = []
    for piece in _SPLIT.split(text):
        mark = _IDS.get(piece)
        ids.extend(piece.encode("utf-8", "replace") if mark is None else (mark,))
    return ids


def token_bytes(token_id: int) -> bytes:
    """The bytes that a token stands for; a mark's are those of its name."""
    return bytes((token_id,)) if token_id < 256 else MARKS[token_id].encode()


def decode(ids: Iterable[int]) -> str:
    """The text of some ids, marks included, U+FFFD where bytes are not UTF-8."""
    return b"".join(map(token_bytes, ids)).decode("utf-8", "replace")


def open_character(ids: Iterable[int]) -> bytes:
    """The bytes at the end of `ids` that begin a UTF-8 character and do not finish it."""
    tail = b""
    for token_id in reversed(tuple(ids)[-3:]):
        if not 0x80 <= token_id <= 0xFF:
            return b""
        tail = bytes((token_id,)) + tail
        if token_id >= 0xC0:
            length = 2 if token_id < 0xE0 else 3 if token_id < 0xF0 else 4
            return tail if len(tail) < length else b""
    return b""


def shown_token(before: Iterable[int], token_id: int) -> str:
    """A token's name beside its logprob: "" inside a character, which its last byte names."""
    if token_id >= 256:
        return MARKS[token_id]
    try:
        return (open_character(before) + bytes((token_id,))).decode()
    except UnicodeDecodeError:
        return ""
