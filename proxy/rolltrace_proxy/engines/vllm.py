"""vLLM, from 0.10.2 on; looked up in the source of 0.32 (entrypoints/openai, parser/, utils/serial_utils.py).

An error that the agent would have got from the worker it must still get, and a text that it would have seen
it must still see. So nothing is asked for where vLLM would answer otherwise because of it:

- chat: top_logprobs or logprob_token_ids without logprobs is the agent's mistake, and logprobs mends it;
- completions: logprob_token_ids without logprobs is the same mistake;
- completions: echo leaves the prompt's text out of the answer once ids are asked for.

With `include_reasoning: false` vLLM gives neither ids nor log-probabilities wherever it has a parser. So the
reasoning is asked for and taken out here, but where that would change more: an output that has a grammar
may then begin with reasoning, and an agent that asks for ids or log-probabilities would see those of the
reasoning.
"""

from __future__ import annotations

import ast
import re
from binascii import Error, a2b_base64
from functools import partial
from typing import cast

from msgspec import Raw

from rolltrace_proxy.engines.interface import ID_KEYS, LOGPROB_KEYS, Array, Ask, Command, Controls, Engine
from rolltrace_proxy.raw_json import ANYTHING, NULL, OBJECT, Object, given, read_member, write

TRUE = Raw(b"true")
FALSE = Raw(b"false")
CHAT = "chat/completions"

NO = (None, FALSE)
NO_LOGPROBS = {CHAT: NO, "completions": (None,)}
"""Completions count: there logprobs: 0 gives the sampled token's own, and false counts as 0."""

TELLING = frozenset(
    {"return_token_ids", "logprobs", "top_logprobs", "logprob_token_ids", "echo", "n", "include_reasoning"}
)
"""The members of a request that decide what is asked for; most agents send none of them."""
ALL_WISHES = {
    CHAT: b'"return_token_ids":true,"logprobs":true',
    "completions": b'"return_token_ids":true,"logprobs":0',
}
"""What is asked for where the request has none of them."""

_REASONING = "reasoning"
_SILENT = (Raw(b"{}"), Raw(b'{"reasoning":null}'), Raw(b'{"reasoning_content":null}'))
_TOLD = ("finish_reason", "logprobs", "token_ids")
_GRAMMARS = ("response_format", "structured_outputs", "tool_choice")
_FREE = (None, Raw(b'"auto"'), Raw(b'"none"'), Raw(b'{"type":"text"}'))

# The header of numpy's format, 1.0 to 3.0: the magic, a version, its length, a Python dict.
_NPY = re.compile(rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)(\{[^\n]*\}) *\n", re.DOTALL)
_KEPT_DTYPES = re.compile(r"[<|][iu][1248]")


class _Vllm:
    name = "vllm"
    controls = Controls(
        pause={mode: Command("POST", f"/pause?mode={mode}") for mode in ("abort", "wait", "keep")},
        resume=Command("POST", "/resume"),
        abort=Command("POST", "/abort_requests", {"request_ids": []}),
        version=Command("GET", "/weight_info"),
        set_version=Command("POST", "/update_weight_version", {}),
    )

    def ask(self, endpoint: str, agent: Object, sent: Object) -> Ask:
        chat = endpoint == CHAT
        no_logprobs = NO_LOGPROBS[endpoint]
        added: tuple[str, ...] = ID_KEYS if given(agent, "return_token_ids") in NO else ()
        if given(agent, "logprobs") in no_logprobs:
            added += LOGPROB_KEYS
        silent = given(sent, "logprobs") in no_logprobs
        if unasked := _reason_not_to_ask(sent, chat=chat, silent=silent):
            return Ask(added=added, unasked=unasked, plain=True)
        members: Object = {}
        if given(sent, "return_token_ids") in NO:
            members["return_token_ids"] = TRUE
        if silent:
            members["logprobs"] = TRUE if chat else Raw(b"0")
        if not chat or sent.get("include_reasoning") != FALSE:
            return Ask(members, added, plain=True)
        if reason := _reason_to_keep_hidden(sent, added):
            return Ask(members, added, reason, plain=True)
        return Ask(members | {"include_reasoning": TRUE}, (*added, _REASONING))

    def settle(self, top: Object, choices: list[Object]) -> tuple[Object, list[Object]]:
        return top, choices

    def take_out(self, top: Object, choices: list[Object], added: tuple[str, ...]) -> bool:
        """What was not asked for is null."""
        taken = False
        for fields in (top, *choices):
            for key in added:
                if key in fields and fields[key] != NULL:
                    fields[key] = NULL
                    taken = True
        return _without_reasoning(choices) or taken if _REASONING in added else taken

    def says_nothing(self, top: Object, choices: list[Object]) -> bool:
        for choice in choices:
            if choice.get("delta") not in _SILENT or any(map(partial(given, choice), _TOLD)):
                return False
        return bool(choices)

    def experts(self, encoded: bytes) -> Array | None:
        """base64 of a file in numpy's format: tokens but the last, layers, experts of a token."""
        try:
            data = a2b_base64(encoded, strict_mode=True)
            head = _NPY.match(data)
            described: object = None if head is None else ast.literal_eval(head[1].decode("latin-1"))
        except (Error, ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if head is None or not isinstance(described, dict):
            return None
        members = cast("dict[object, object]", described)
        dtype, shape = members.get("descr"), members.get("shape")
        if not isinstance(dtype, str) or not isinstance(shape, tuple) or members.get("fortran_order"):
            return None
        return checked(data[head.end() :], dtype, cast("tuple[object, ...]", shape))


def checked(data: bytes, dtype: str, shape: tuple[object, ...]) -> Array | None:
    """An array of integers, if its bytes are as many as its shape says."""
    size = int(dtype[-1]) if _KEPT_DTYPES.fullmatch(dtype) else 0
    sides: list[int] = []
    for side in shape:
        if type(side) is not int or side < 0:
            return None
        sides.append(side)
        size *= side
    return Array(data, dtype, tuple(sides)) if size == len(data) and data else None


def _reason_not_to_ask(fields: Object, *, chat: bool, silent: bool) -> str:
    """silent: no log-probabilities are asked for."""
    if silent:
        for key in ("top_logprobs", "logprob_token_ids") if chat else ("logprob_token_ids",):
            if read_member(ANYTHING, fields, key):
                return f"{key} without logprobs is for the worker to refuse"
    if not chat and given(fields, "echo") not in NO:
        return "with echo, asking for ids takes the prompt's text out of the answer"
    return ""


def _reason_to_keep_hidden(fields: Object, added: tuple[str, ...]) -> str:
    """Why include_reasoning: false goes on as it is, and takes ids and log-probabilities along."""
    if added != ID_KEYS + LOGPROB_KEYS:
        return "include_reasoning: false hides the tokens that the agent asked for too"
    for key in _GRAMMARS:
        if given(fields, key) not in _FREE:
            return f"include_reasoning: false with {key} lets the grammar begin at the first token"
    return ""


def _without_reasoning(choices: list[Object]) -> bool:
    """Takes the reasoning out of messages and deltas; whether there was any."""
    taken = False
    for choice in choices:
        for key in ("message", "delta"):
            said = read_member(OBJECT, choice, key)
            if said is not None and given(said, _REASONING) is not None:
                choice[key] = Raw(write(said | {_REASONING: NULL}))
                taken = True
    return taken


VLLM: Engine = _Vllm()
