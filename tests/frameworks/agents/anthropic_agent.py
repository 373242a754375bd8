"""The anthropic SDK: messages."""

from __future__ import annotations

import json
from collections.abc import Iterator

from anthropic import Anthropic
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "the city"}},
    "required": ["city"],
}
TOOL = {"name": "get_weather", "description": "weather report of a city", "input_schema": SCHEMA}


def get_weather(city: str) -> str:
    return f"sunny in {city}"


def messages(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    base_url = base_url.removesuffix("/v1")  # the SDK adds it
    client = Anthropic(base_url=base_url, api_key=api_key)
    turns = []
    for question in QUESTIONS:
        turns.append({"role": "user", "content": question})
        while True:
            asked = {"model": model, "max_tokens": 200, "system": INSTRUCTIONS, "messages": turns}
            asked |= {"tools": [TOOL], "extra_body": {"temperature": 0}}
            if stream:
                with client.messages.stream(**asked) as events:
                    yield {"deltas": "".join(events.text_stream)}
                    message = events.get_final_message()
            else:
                message = client.messages.create(**asked)
            yield said(message)
            turns.append({"role": "assistant", "content": message.content})
            calls = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                break
            results = [(call.id, get_weather(**call.input)) for call in calls]
            yield from ({"result": result, "of": id_} for id_, result in results)
            content = [{"type": "tool_result", "tool_use_id": i, "content": r} for i, r in results]
            turns.append({"role": "user", "content": content})


def said(message) -> Seen:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [(b.id, b.name, json.dumps(b.input)) for b in message.content if b.type == "tool_use"]
    return answer(text, calls, message.stop_reason, (message.usage.input_tokens, message.usage.output_tokens))


if __name__ == "__main__":
    serve(messages=messages)
