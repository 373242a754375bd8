"""Agents that nobody changes at all: environment variables alone bring them to the gateway."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rolltrace_client import CallStatus
from tests.frameworks.conftest import Gateway
from tests.frameworks.scripts import Script

pytestmark = pytest.mark.frameworks

PROGRAMS = {
    "openai": """
from openai import OpenAI
OpenAI().chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
""",
    "anthropic": """
from anthropic import Anthropic
Anthropic().messages.create(model="tiny", max_tokens=99, messages=[{"role": "user", "content": "hello"}])
""",
    "openai-agents": """
from agents import Agent, Runner
Runner.run_sync(Agent(name="weather", model="tiny"), "hello")
""",
    "langchain-openai": """
from langchain_openai import ChatOpenAI
ChatOpenAI(model="tiny").invoke("hello")
""",
    "litellm": """
import litellm
litellm.completion("openai/tiny", messages=[{"role": "user", "content": "hello"}])
litellm.completion("hosted_vllm/tiny", messages=[{"role": "user", "content": "hello"}])
""",
    "google-adk": """
import asyncio
from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
agent = LlmAgent(name="weather", model=LiteLlm(model="openai/tiny"))
asyncio.run(InMemoryRunner(agent=agent).run_debug("hello", quiet=True))
""",
    "strands-agents": """
from strands import Agent, tool
from strands.models.openai import OpenAIModel

@tool
def get_weather(city: str) -> str:
    "weather report of a city"
    return "sunny"

Agent(model=OpenAIModel(model_id="tiny"), tools=[get_weather])("what is the weather in Paris")
""",
    "pydantic-ai": """
from pydantic_ai import Agent
Agent("openai:tiny").run_sync("hello")
""",
}
CALLS = {"litellm": 2, "strands-agents": 2}


@pytest.mark.parametrize("framework", PROGRAMS)
def test_the_environment_names_the_session(
    framework: str, agent: Callable[[str], Script], gateway: Gateway
) -> None:
    session = gateway.client.create_session()
    variables = {
        "OPENAI_BASE_URL": session.base_url,
        "OPENAI_API_KEY": "unused",
        "HOSTED_VLLM_API_BASE": session.base_url,
        "ANTHROPIC_BASE_URL": session.base_url,  # this SDK adds a /v1 of its own
        "ANTHROPIC_API_KEY": "unused",
    }
    agent(framework).follow(PROGRAMS[framework], variables)
    traces = list(gateway.client.list_traces(session.session_id))
    assert len(traces) == CALLS.get(framework, 1)
    for trace in traces:
        assert trace.status == CallStatus.COMPLETED
        assert list(trace.capture_gaps) == []
        assert all(len(completion.logprobs) > 0 for completion in trace.completions)
