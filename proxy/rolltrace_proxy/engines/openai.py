"""Any other server of OpenAI's API. It is asked for nothing: an option that a server refuses, and `logprobs`
is one that some do, would break the agent's call; and log-probabilities without the ids that they belong to
are no use to a trainer.

What the agent asks for itself is read all the same, where vLLM has it.
"""

from __future__ import annotations

from rolltrace_proxy.engines.interface import Array, Ask, Controls, Engine
from rolltrace_proxy.raw_json import Object

_UNASKED = "this API has no token ids; a worker that has some needs its own engine (vllm, sglang, llamacpp)"


class _Openai:
    name = "openai"
    controls = Controls()

    def ask(self, endpoint: str, agent: Object, sent: Object) -> Ask:
        return Ask(unasked=_UNASKED)

    def settle(self, top: Object, choices: list[Object]) -> tuple[Object, list[Object]]:
        return top, choices

    def take_out(self, top: Object, choices: list[Object], added: tuple[str, ...]) -> bool:
        return False

    def says_nothing(self, top: Object, choices: list[Object]) -> bool:
        return False

    def experts(self, encoded: bytes) -> Array | None:
        return None


OPENAI: Engine = _Openai()
