"""Strands Agents: chat completions, streamed unless told otherwise, and responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve
from strands import Agent, tool
from strands.models.openai import OpenAIModel


@tool
def get_weather(city: str) -> str:
    """weather report of a city"""
    return f"sunny in {city}"


async def chat(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    llm = OpenAIModel(
        client_args={"base_url": base_url, "api_key": api_key},
        model_id=model,
        params={"temperature": 0},
        stream=stream,
    )
    agent = Agent(model=llm, tools=[get_weather], system_prompt=INSTRUCTIONS, callback_handler=None)
    for question in QUESTIONS:
        before = len(agent.messages)
        events = [event async for event in agent.stream_async(question)]
        yield {"deltas": "".join(event["data"] for event in events if "data" in event)}
        for message in agent.messages[before:]:
            for seen in said(message):
                yield seen
        result = events[-1]["result"]
        usage = result.metrics.accumulated_usage
        yield {
            "final": str(result),
            "end": result.stop_reason,
            "usage": (usage["inputTokens"], usage["outputTokens"]),
        }


def said(message) -> list[Seen]:
    """What one message of the agent's history tells."""
    blocks = message["content"]
    if message["role"] == "assistant":
        text = "".join(block.get("text", "") for block in blocks)
        uses = [block["toolUse"] for block in blocks if "toolUse" in block]
        calls = [(use["toolUseId"], use["name"], json.dumps(use["input"])) for use in uses]
        return [answer(text, calls, None, None)]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    return [{"result": result["content"], "of": result["toolUseId"]} for result in results]


if __name__ == "__main__":
    serve(chat=chat)
