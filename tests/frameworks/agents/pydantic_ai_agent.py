"""Pydantic AI: responses, which `openai:` names stand for, and chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic_ai import Agent
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve


def get_weather(city: str) -> str:
    """weather report of a city"""
    return f"sunny in {city}"


def responses(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    provider = OpenAIProvider(base_url=base_url, api_key=api_key)
    llm = OpenAIResponsesModel(model, provider=provider)
    return talk(llm, stream)


def chat(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    provider = OpenAIProvider(base_url=base_url, api_key=api_key)
    llm = OpenAIChatModel(model, provider=provider)
    return talk(llm, stream)


async def talk(llm: Model, stream: bool) -> AsyncIterator[Seen]:
    agent = Agent(instructions=INSTRUCTIONS, tools=[get_weather], model_settings={"temperature": 0})
    history = []
    for question in QUESTIONS:
        if stream:
            async with agent.run_stream(question, message_history=history, model=llm) as result:
                yield {"deltas": "".join([text async for text in result.stream_text(delta=True)])}
                final = await result.get_output()
        else:
            result = await agent.run(question, message_history=history, model=llm)
            final = result.output
        for message in result.new_messages():
            for seen in said(message):
                yield seen
        yield {"final": final}
        history = result.all_messages()


def said(message: ModelRequest | ModelResponse) -> list[Seen]:
    """What one message of the agent's history tells."""
    if isinstance(message, ModelRequest):
        results = [part for part in message.parts if isinstance(part, ToolReturnPart)]
        return [{"result": part.content, "of": part.tool_call_id} for part in results]
    text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
    parts = [part for part in message.parts if isinstance(part, ToolCallPart)]
    calls = [(part.tool_call_id, part.tool_name, part.args) for part in parts]
    usage = (message.usage.input_tokens, message.usage.output_tokens)
    return [answer(text, calls, message.finish_reason, usage)]


if __name__ == "__main__":
    serve(responses=responses, chat=chat)
