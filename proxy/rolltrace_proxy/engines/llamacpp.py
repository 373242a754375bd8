"""llama.cpp's server; seen on the wire of a build of October 2026 (xllamacpp 2026.10).

Every entry of its log-probabilities has the `id` of its token, for chat and completions alike, so these are
asked for, with the fewest candidates that it takes. It has no way to give the ids of a prompt.

A token that ends within a UTF-8 character has no entry; how many there should be, the usage tells. That is
only said of the first of several choices, so those have no ids. Of a stream nothing is asked: its chunks
leave out every token without a text, the end of the turn among them, and with tools the wish is an error.
That top_logprobs is an error without logprobs must stay one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from rolltrace_proxy.engines.interface import LOGPROB_KEYS, Array, Ask, Controls, Engine
from rolltrace_proxy.engines.vllm import CHAT, NO, NO_LOGPROBS, TRUE
from rolltrace_proxy.raw_json import NULL, Object, given, read_member, write

_ONE = Raw(b"1")
_STREAM = "llama.cpp leaves tokens without text out of a stream"
_REFUSED = "top_logprobs without logprobs is for the worker to refuse"


class _Entry(Struct, gc=False):
    id: Annotated[int, Meta(ge=-(2**31), lt=2**31)]


class _Content(Struct, gc=False):
    content: list[_Entry]


_CONTENT: Decoder[_Content] = Decoder(_Content)


class _Llamacpp:
    name = "llamacpp"
    controls = Controls()

    def ask(self, endpoint: str, agent: Object, sent: Object) -> Ask:
        if given(sent, "stream") not in NO:
            return Ask(unasked=_STREAM)
        if given(sent, "logprobs") not in NO_LOGPROBS[endpoint]:
            imposed = given(agent, "logprobs") in NO_LOGPROBS[endpoint]
            return Ask(added=LOGPROB_KEYS if imposed else ())
        if endpoint != CHAT:
            return Ask({"logprobs": _ONE}, LOGPROB_KEYS)
        if given(sent, "top_logprobs") is not None:
            return Ask(unasked=_REFUSED)
        return Ask({"logprobs": TRUE, "top_logprobs": _ONE}, LOGPROB_KEYS)

    def settle(self, top: Object, choices: list[Object]) -> tuple[Object, list[Object]]:
        if given(top, "usage") is None or len(choices) != 1:
            return top, choices
        return top, [_with_ids(choices[0])]

    def take_out(self, top: Object, choices: list[Object], added: tuple[str, ...]) -> bool:
        """Chat has no log-probabilities when there are none, completions have null."""
        shown = [choice for choice in choices if added and given(choice, "logprobs") is not None]
        for choice in shown:
            if "message" in choice:
                del choice["logprobs"]
            else:
                choice["logprobs"] = NULL
        return bool(shown)

    def says_nothing(self, top: Object, choices: list[Object]) -> bool:
        return False

    def experts(self, encoded: bytes) -> Array | None:
        return None


LLAMACPP: Engine = _Llamacpp()


def _with_ids(choice: Object) -> Object:
    found = read_member(_CONTENT, choice, "logprobs")
    if found is None:
        return choice
    return choice | {"token_ids": Raw(write([entry.id for entry in found.content]))}
