"""Google's Agent Development Kit: chat completions, by LiteLlm; streamed when its run is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.events import Event
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve


def get_weather(city: str) -> dict:
    """weather report of a city"""
    return {"sky": f"sunny in {city}"}


async def chat(base_url: str, api_key: str, model: str, stream: bool) -> AsyncIterator[Seen]:
    llm = LiteLlm(model=f"hosted_vllm/{model}", api_base=base_url, api_key=api_key)
    agent = LlmAgent(
        name="weather",
        model=llm,
        instruction=INSTRUCTIONS,
        tools=[get_weather],
        generate_content_config=types.GenerateContentConfig(temperature=0),
    )
    runner = InMemoryRunner(agent=agent, app_name="weather")
    session = await runner.session_service.create_session(app_name="weather", user_id="user")
    config = RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE)
    for question in QUESTIONS:
        message = types.Content(role="user", parts=[types.Part(text=question)])
        events = runner.run_async(
            user_id="user", session_id=session.id, new_message=message, run_config=config
        )
        deltas = []
        async for event in events:
            if event.partial:
                deltas.append(text_of(event))
            else:
                for seen in said(event):
                    yield seen
        yield {"deltas": "".join(deltas)}
    await runner.close()


def text_of(event: Event) -> str:
    return "".join(part.text or "" for part in event.content.parts)


def said(event: Event) -> list[Seen]:
    results = [{"result": r.response, "of": r.id} for r in event.get_function_responses()]
    if results:
        return results
    calls = [(call.id, call.name, json.dumps(call.args)) for call in event.get_function_calls()]
    usage = event.usage_metadata
    tokens = (usage.prompt_token_count, usage.candidates_token_count)
    return [answer(text_of(event), calls, event.finish_reason and event.finish_reason.name, tokens)]


if __name__ == "__main__":
    serve(chat=chat)
