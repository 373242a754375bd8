"""SGLang; looked up in the source of 0.5.23: srt/entrypoints (openai/protocol.py, serving_chat.py,
serving_completions.py, sse_utils.py, http_server.py), srt/utils/weight_versions.py.

Chat has an option of its own for ids, `return_token_ids`, which is an error for streams. Those for `sglext`
are none, and give ids for whole answers and streams alike: {"input_ids": [...], "output_ids": [[...], ...]},
a list for each choice. In a stream they come in one late chunk without choices, when all has been said: of a
stream that breaks off there are no ids. Completions have vLLM's own options and places.

Without `--tool-call-parser` or `--reasoning-parser`, a streamed chat answer leaves out the log-probabilities
of every token that has no text of its own, the end of the turn among them.
"""

from __future__ import annotations

from binascii import Error, a2b_base64

from msgspec import Raw

from rolltrace_proxy.engines.interface import ID_KEYS, LOGPROB_KEYS, Array, Ask, Command, Controls, Engine
from rolltrace_proxy.engines.vllm import CHAT, NO, NO_LOGPROBS, TRUE, VLLM, checked
from rolltrace_proxy.raw_json import NULL, OBJECT, RAWS, Object, given, read_member, write

_EXT = "sglext"
_INPUT, _OUTPUT, _EXPERTS = "input_ids", "output_ids", "routed_experts"
_ASKS = {
    _INPUT: "return_input_ids_in_sglext",
    _OUTPUT: "return_output_ids_in_sglext",
    _EXPERTS: "return_routed_experts",
}
"""The members of sglext that somebody may have asked for, and how."""


class _Sglang:
    name = "sglang"
    controls = Controls(
        pause={
            "abort": Command("POST", "/pause_generation", {"mode": "abort"}),
            "keep": Command("POST", "/pause_generation", {"mode": "in_place"}),
        },
        resume=Command("POST", "/continue_generation", {}),
        abort=Command("POST", "/abort_request", {"abort_all": True}),
        version=Command("GET", "/model_info"),
        set_version=Command("POST", "/update_weight_version", {"abort_all_requests": False}),
    )

    def ask(self, endpoint: str, agent: Object, sent: Object) -> Ask:
        chat = endpoint == CHAT
        members: Object = {}
        added = _unasked_experts(agent)
        if chat:
            for name in (_INPUT, _OUTPUT):
                if given(agent, _ASKS[name]) in NO:
                    members[_ASKS[name]] = TRUE
                    added += (name,)
        else:
            added += ID_KEYS if given(agent, "return_token_ids") in NO else ()
            if given(sent, "return_token_ids") in NO:
                members["return_token_ids"] = TRUE
        if given(sent, "logprobs") in NO_LOGPROBS[endpoint]:
            members["logprobs"] = TRUE if chat else Raw(b"0")
        if given(agent, "logprobs") in NO_LOGPROBS[endpoint]:
            added += LOGPROB_KEYS
        return Ask(members, added, late=chat and given(sent, "stream") == TRUE)

    def settle(self, top: Object, choices: list[Object]) -> tuple[Object, list[Object]]:
        ext, metadata = read_member(OBJECT, top, _EXT), read_member(OBJECT, top, "metadata")
        if ext is None and metadata is None:
            return top, choices
        told, ext, metadata = top.copy(), ext or {}, metadata or {}
        _put(told, "prompt_token_ids", ext.get(_INPUT))
        _put(told, "weight_version", metadata.get("weight_version"))
        ids = read_member(RAWS, ext, _OUTPUT) or []
        settled = [choice.copy() for choice in choices]
        settled += [{"index": Raw(b"%d" % index)} for index in range(len(choices), len(ids))]
        for choice, of_choice in zip(settled, ids, strict=False):
            choice["token_ids"] = of_choice
        if choices or len(settled) == 1:  # these are the first choice's alone; in a stream, of any one
            _put(settled[0], "weight_versions", metadata.get("weight_versions"))
            _put(settled[0], _EXPERTS, ext.get(_EXPERTS))
        return told, settled

    def take_out(self, top: Object, choices: list[Object], added: tuple[str, ...]) -> bool:
        """Log-probabilities that were not asked for are null, all else is not there."""
        taken = _without_ext(top, [key for key in added if key in _ASKS])
        for choice in choices:
            taken = _without(choice, [key for key in added if key in ID_KEYS]) or taken
            if "logprobs" in added and given(choice, "logprobs") is not None:
                choice["logprobs"], taken = NULL, True
        return taken

    def says_nothing(self, top: Object, choices: list[Object]) -> bool:
        if choices:
            return VLLM.says_nothing(top, choices)
        return _EXT not in top and given(top, "usage") is None

    def experts(self, encoded: bytes) -> Array | None:
        """base64 of int32; how many layers and experts a token has, it does not tell."""
        try:
            data = a2b_base64(encoded, strict_mode=True)
        except Error:
            return None
        return checked(data, "<i4", (len(data) // 4,))


SGLANG: Engine = _Sglang()


def _unasked_experts(agent: Object) -> tuple[str, ...]:
    return (_EXPERTS,) if given(agent, _ASKS[_EXPERTS]) in NO else ()


def _without_ext(top: Object, keys: list[str]) -> bool:
    ext = read_member(OBJECT, top, _EXT)
    if ext is None or not _without(ext, keys):
        return False
    del top[_EXT]
    if ext:
        top[_EXT] = Raw(write(ext))
    return True


def _put(fields: Object, key: str, value: Raw | None) -> None:
    if value is not None:
        fields[key] = value


def _without(fields: Object, keys: list[str]) -> bool:
    present = [key for key in keys if key in fields]
    for key in present:
        del fields[key]
    return bool(present)
