"""LiteLLM's SDK: chat completions, by its provider for OpenAI and by that for vLLM, and responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import litellm
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "the city"}},
    "required": ["city"],
}
TOOL = {"name": "get_weather", "description": "weather report of a city", "parameters": PARAMETERS}


def get_weather(city: str) -> str:
    return f"sunny in {city}"


def chat(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    gateway = {"api_base": base_url, "api_key": api_key}

    def complete(messages, tools, **settings):
        return litellm.completion(
            model=f"openai/{model}", messages=messages, tools=tools, **settings, **gateway
        )

    return talk(complete, stream)


def hosted_vllm(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    gateway = {"api_base": base_url, "api_key": api_key}

    def complete(messages, tools, **settings):
        return litellm.completion(
            model=f"hosted_vllm/{model}", messages=messages, tools=tools, **settings, **gateway
        )

    return talk(complete, stream)


def talk(complete: Callable, stream: bool) -> Iterator[Seen]:
    tools = [{"type": "function", "function": TOOL}]
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        while True:
            if not stream:
                response = complete(messages, tools, temperature=0)
            else:
                response = complete(
                    messages,
                    tools,
                    temperature=0,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = list(response)
                yield {"deltas": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)}
                response = litellm.stream_chunk_builder(chunks, messages=messages)
            message = response.choices[0].message
            yield said(response)
            messages.append(message)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                result = get_weather(**json.loads(call.function.arguments))
                yield {"result": result, "of": call.id}
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def said(response) -> Seen:
    (choice,) = response.choices
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
    usage = (response.usage.prompt_tokens, response.usage.completion_tokens)
    return answer(choice.message.content, calls, choice.finish_reason, usage)


if __name__ == "__main__":
    serve(chat=chat, hosted_vllm=hosted_vllm)
