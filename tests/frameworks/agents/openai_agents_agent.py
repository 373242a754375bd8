"""The OpenAI Agents SDK: responses, which it speaks by default, and chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve

set_tracing_disabled(True)  # else the SDK sends traces of its own to OpenAI


@function_tool
def get_weather(city: str) -> str:
    """weather report of a city"""
    return f"sunny in {city}"


def responses(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    provider = OpenAIProvider(base_url=base_url, api_key=api_key)
    return talk(provider, model, stream)


def chat(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    provider = OpenAIProvider(base_url=base_url, api_key=api_key, use_responses=False)
    return talk(provider, model, stream)


async def talk(provider: OpenAIProvider, model: str, stream: bool) -> AsyncIterator[Seen]:
    agent = Agent(
        name="weather",
        instructions=INSTRUCTIONS,
        model=model,
        model_settings=ModelSettings(temperature=0, include_usage=True),
        tools=[get_weather],
    )
    run_config = RunConfig(model_provider=provider)
    history = []
    for question in QUESTIONS:
        history.append({"role": "user", "content": question})
        if stream:
            result = Runner.run_streamed(agent, history, run_config=run_config)
            raw = [e.data async for e in result.stream_events() if e.type == "raw_response_event"]
            yield {"deltas": "".join(e.delta for e in raw if e.type == "response.output_text.delta")}
        else:
            result = await Runner.run(agent, history, run_config=run_config)
        for response in result.raw_responses:
            yield said(response)
        for item in result.new_items:
            if item.type == "tool_call_output_item":
                yield {"result": item.output, "of": item.raw_item["call_id"]}
        yield {"final": result.final_output}
        history = result.to_input_list()


def said(response) -> Seen:
    texts = [part.text for item in response.output if item.type == "message" for part in item.content]
    calls = [(i.call_id, i.name, i.arguments) for i in response.output if i.type == "function_call"]
    usage = (response.usage.input_tokens, response.usage.output_tokens)
    return answer("".join(texts), calls, None, usage)


if __name__ == "__main__":
    serve(responses=responses, chat=chat)
