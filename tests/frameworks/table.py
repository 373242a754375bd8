"""The frameworks that are run, and what of them: the one table that the suite and the README share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ENDPOINTS = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}


@dataclass(frozen=True, slots=True)
class Case:
    """One API of one framework. `function`: of its agent script. `by_default`: what it speaks untold."""

    framework: str
    api: str
    function: str
    said: str
    by_default: bool = False

    @property
    def endpoint(self) -> str:
        return ENDPOINTS[self.api]

    @property
    def script(self) -> Path:
        return HERE / "agents" / f"{self.framework.replace('-', '_')}_agent.py"

    def __str__(self) -> str:
        return f"{self.framework}-{self.function}"


CASES = (
    Case("openai", "chat", "chat", "`chat.completions.create`"),
    Case("openai", "chat", "parse", "`chat.completions.parse`, `.stream`"),
    Case("openai", "responses", "responses", "`responses.create`, `.stream`"),
    Case("anthropic", "messages", "messages", "`messages.create`, `.stream`"),
    Case("openai-agents", "responses", "responses", "`OpenAIResponsesModel`", by_default=True),
    Case("openai-agents", "chat", "chat", "`OpenAIChatCompletionsModel`"),
    Case("langchain-openai", "chat", "chat", "`ChatOpenAI`", by_default=True),
    Case("langchain-openai", "responses", "responses", "`ChatOpenAI(use_responses_api=True)`"),
    Case("litellm", "chat", "chat", '`completion("openai/...")`'),
    Case("litellm", "chat", "hosted_vllm", '`completion("hosted_vllm/...")`'),
    Case("google-adk", "chat", "chat", "`LiteLlm`"),
    Case("strands-agents", "chat", "chat", "`OpenAIModel`"),
    Case("pydantic-ai", "responses", "responses", "`OpenAIResponsesModel`", by_default=True),
    Case("pydantic-ai", "chat", "chat", "`OpenAIChatModel`"),
)


@cache
def versions() -> dict[str, str]:
    """Framework and its version, as pinned in versions.txt: its environment's first requirement."""
    lines = (HERE / "versions.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1].partition("==")[2] for row in rows}


def markdown() -> str:
    """The README's table. The suite runs every row streamed and not, by URL and by key, and asks the same."""
    head = "| framework | version | as | endpoint | session in | streamed | answers | tokens |\n"
    rows = (
        f"| {case.framework} | {versions()[case.framework]} | {case.said}"
        f"{' (its default)' if case.by_default else ''} | `{case.endpoint}` "
        "| URL, key | yes, no | equal | all |\n"
        for case in CASES
    )
    return "".join([head, "|---" * 8 + "|\n", *rows])
