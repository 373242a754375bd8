"""The openai SDK: chat completions, the typed helpers for them, and responses."""

from __future__ import annotations

import json
from collections.abc import Iterator

from openai import OpenAI, pydantic_function_tool
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "the city"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"name": "get_weather", "description": "weather report of a city", "parameters": PARAMETERS}


class GetWeather(BaseModel):
    """weather report of a city"""

    city: str = Field(description="the city")


def get_weather(city: str) -> str:
    return f"sunny in {city}"


def chat(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    client = OpenAI(base_url=base_url, api_key=api_key)
    tools = [{"type": "function", "function": TOOL}]
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        while True:
            asked = {"model": model, "messages": messages, "tools": tools, "temperature": 0}
            if stream:
                chunks = client.chat.completions.create(
                    **asked, stream=True, stream_options={"include_usage": True}
                )
                message, seen = joined(chunks)
            else:
                completion = client.chat.completions.create(**asked)
                message, seen = completion.choices[0].message.model_dump(exclude_none=True), said(completion)
            yield seen
            messages.append(message)
            if not seen["calls"]:
                break
            for call in seen["calls"]:
                result = get_weather(**json.loads(call["arguments"]))
                yield {"result": result, "of": call["id"]}
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def joined(chunks) -> tuple[dict, Seen]:
    """The message that a stream spells, and what was seen of it."""
    text, calls, end, usage = "", {}, None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            end = choice.finish_reason or end
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    message = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in calls.values()
        ]
    told = [(c["id"], c["name"], c["arguments"]) for c in calls.values()]
    return message, answer(text, told, end, (usage.prompt_tokens, usage.completion_tokens))


def said(completion: ChatCompletion) -> Seen:
    (choice,) = completion.choices
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
    usage = completion.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    return answer(choice.message.content, calls, choice.finish_reason, tokens)


def parse(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    client = OpenAI(base_url=base_url, api_key=api_key)
    tools = [pydantic_function_tool(GetWeather, name="get_weather")]
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        while True:
            asked = {"model": model, "messages": messages, "tools": tools, "temperature": 0}
            if stream:
                with client.chat.completions.stream(
                    **asked, stream_options={"include_usage": True}
                ) as events:
                    yield {"deltas": "".join(e.delta for e in events if e.type == "content.delta")}
                    completion = events.get_final_completion()
            else:
                completion = client.chat.completions.parse(**asked)
            message = completion.choices[0].message
            yield said(completion)
            messages.append(message)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                result = get_weather(call.function.parsed_arguments.city)
                yield {"result": result, "of": call.id}
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def responses(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    client = OpenAI(base_url=base_url, api_key=api_key)
    tools = [{"type": "function", **TOOL}]
    items = []
    for question in QUESTIONS:
        items.append({"role": "user", "content": question})
        while True:
            asked = {"model": model, "input": items, "instructions": INSTRUCTIONS, "tools": tools}
            if stream:
                with client.responses.stream(**asked, temperature=0) as events:
                    for event in events:
                        if event.type == "response.output_text.done":
                            yield {"text done": event.text}
                        elif event.type == "response.function_call_arguments.done":
                            yield {"arguments done": event.arguments}
                    response = events.get_final_response()
            else:
                response = client.responses.create(**asked, temperature=0)
            calls = [item for item in response.output if item.type == "function_call"]
            usage = (response.usage.input_tokens, response.usage.output_tokens)
            told = [(call.call_id, call.name, call.arguments) for call in calls]
            yield answer(response.output_text, told, response.status, usage)
            items += [item.model_dump(exclude_none=True) for item in response.output]
            if not calls:
                break
            for call in calls:
                result = get_weather(**json.loads(call.arguments))
                yield {"result": result, "of": call.call_id}
                items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


if __name__ == "__main__":
    serve(chat=chat, parse=parse, responses=responses)
