"""What a server must say of itself so that what it samples can be captured.

The places that answers are read at are vLLM's. Of the answer: "prompt_token_ids", and "weight_version", which
vLLM itself does not give. Of a choice: "token_ids", "logprobs", "finish_reason", "prompt_token_ids",
"weight_versions" ([{"version", "start", "end"}] over its sampled ids) and "routed_experts" (base64).

Rules. Nothing is asked for that a server of this kind may refuse, or that changes what the agent gets beyond
what is taken out again. Nothing raises for what a worker may send. Nothing here awaits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from msgspec import Struct

from rolltrace_proxy.raw_json import Object

ID_KEYS = ("prompt_token_ids", "token_ids")
LOGPROB_KEYS = ("logprobs",)


class Ask(Struct, frozen=True, gc=False):
    """What is asked for besides what the agent asks for."""

    # The members that the request has to have instead of, or besides, its own.
    members: Object = {}
    # What the answer has because of them, by the names that the engine's take_out knows.
    added: tuple[str, ...] = ()
    # Why there will be no ids or log-probabilities, or fewer; empty when all are asked for.
    unasked: str = ""
    # Whether the answer may be read by the quick readers, which know vLLM's usual answers.
    plain: bool = False
    # Whether the ids of a stream come once, at its end.
    late: bool = False


class Array(NamedTuple):
    """Elements in C order. dtype as numpy writes it, e.g. "|u1"."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]


class Command(NamedTuple):
    """A request to the server itself, whose path is not below its api_path."""

    method: str
    path: str
    body: Mapping[str, object] | None = None


class Controls(Struct, frozen=True):
    """How a trainer's wishes are put to the server; what it can't do is absent or None."""

    # By what becomes of the calls that run: "abort" ends them, "wait" lets them end, "keep" stops them where
    # they are, to go on after `resume`.
    pause: Mapping[str, Command] = {}
    resume: Command | None = None
    # Ends all calls that run.
    abort: Command | None = None
    # Answers with an object that has the version as a string, in the member "weight_version".
    version: Command | None = None
    # The member of `set_version`'s body that takes the version.
    set_version: Command | None = None
    version_member: str = "new_version"


class Engine(Protocol):
    """A kind of server."""

    @property
    def name(self) -> str:
        """As Worker.engine has it."""
        ...

    @property
    def controls(self) -> Controls: ...

    def ask(self, endpoint: str, agent: Object, sent: Object) -> Ask:
        """For a call of a token endpoint: the agent's fields, and these with what is imposed on them."""
        ...

    def settle(self, top: Object, choices: list[Object]) -> tuple[Object, list[Object]]:
        """An answer or chunk, with everything in vLLM's places. What is given is not changed; the choices
        come out in their order, and after them may come some that hold tokens alone."""
        ...

    def take_out(self, top: Object, choices: list[Object], added: tuple[str, ...]) -> bool:
        """Makes an answer or chunk what it would be if nothing had been asked for; whether it was anything
        else."""
        ...

    def says_nothing(self, top: Object, choices: list[Object]) -> bool:
        """Whether a chunk, of which everything was taken out, would not have been sent."""
        ...

    def experts(self, encoded: bytes) -> Array | None:
        """What "routed_experts" of a choice holds, without its quotes; None when it can't be read."""
        ...
