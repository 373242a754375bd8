"""The frameworks that are run, and what of them: the one table that the suite and the README share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ENDPOINTS = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}

SECTIONS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "openai-agents": "OpenAI Agents SDK",
    "langchain-openai": "LangChain",
    "litellm": "LiteLLM",
    "google-adk": "Google ADK",
    "strands-agents": "Strands Agents",
    "pydantic-ai": "Pydantic AI",
}
"""Each framework, and the section of docs/agents.md with its recipe."""


@dataclass(frozen=True, slots=True)
class Case:
    """One API of one framework. `function`: of its agent script. `by_default`: what it speaks untold."""

    framework: str
    api: str
    function: str
    by_default: bool = False

    @property
    def endpoint(self) -> str:
        return ENDPOINTS[self.api]

    def __str__(self) -> str:
        return f"{self.framework}-{self.function}"


CASES = (
    Case("openai", "chat", "chat"),
    Case("openai", "chat", "parse"),
    Case("openai", "responses", "responses"),
    Case("anthropic", "messages", "messages"),
    Case("openai-agents", "responses", "responses", by_default=True),
    Case("openai-agents", "chat", "chat"),
    Case("langchain-openai", "chat", "chat", by_default=True),
    Case("langchain-openai", "responses", "responses"),
    Case("litellm", "chat", "chat"),
    Case("litellm", "chat", "hosted_vllm"),
    Case("google-adk", "chat", "chat"),
    Case("strands-agents", "chat", "chat"),
    Case("pydantic-ai", "responses", "responses", by_default=True),
    Case("pydantic-ai", "chat", "chat"),
)


def script(framework: str) -> Path:
    return HERE / "agents" / f"{framework.replace('-', '_')}_agent.py"


@cache
def versions() -> dict[str, str]:
    """Framework and its version, as pinned in versions.txt: its environment's first requirement."""
    lines = (HERE / "versions.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1].partition("==")[2] for row in rows}


def markdown() -> str:
    """The README's table. The suite runs every endpoint of a row both ways, by URL and by key."""
    head = "| framework | version | endpoints | session in | streamed | answers | tokens |\n"
    return "".join([head, "|---" * 7 + "|\n", *map(_row, SECTIONS)])


def _row(framework: str) -> str:
    cases = [case for case in CASES if case.framework == framework]
    default = {case.endpoint for case in cases if case.by_default}
    endpoints = [
        f"**{each}**" if each in default else each for each in dict.fromkeys(c.endpoint for c in cases)
    ]
    link = f"[{framework}](docs/agents.md#{SECTIONS[framework].lower().replace(' ', '-')})"
    return (
        f"| {link} | {versions()[framework]} | {', '.join(endpoints)} | URL, key | yes, no | equal | all |\n"
    )
