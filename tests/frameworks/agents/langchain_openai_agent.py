"""langchain-openai: chat completions, which it speaks by default, and responses."""

from __future__ import annotations

import json
from collections.abc import Iterator

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from runs import INSTRUCTIONS, QUESTIONS, Seen, answer, serve


@tool
def get_weather(city: str) -> str:
    """weather report of a city"""
    return f"sunny in {city}"


def chat(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    llm = ChatOpenAI(base_url=base_url, api_key=api_key, model=model, temperature=0, stream_usage=True)
    return talk(llm, stream)


def responses(base_url: str, api_key: str, model: str, stream: bool) -> Iterator[Seen]:
    llm = ChatOpenAI(base_url=base_url, api_key=api_key, model=model, temperature=0, use_responses_api=True)
    return talk(llm, stream)


def talk(llm: ChatOpenAI, stream: bool) -> Iterator[Seen]:
    llm_with_tools = llm.bind_tools([get_weather])
    messages = [SystemMessage(INSTRUCTIONS)]
    for question in QUESTIONS:
        messages.append(HumanMessage(question))
        while True:
            if stream:
                chunks = list(llm_with_tools.stream(messages))
                yield {"deltas": "".join(chunk.text for chunk in chunks)}
                message = sum(chunks[1:], chunks[0])
            else:
                message = llm_with_tools.invoke(messages)
            yield said(message)
            messages.append(message)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                result = get_weather.invoke(call)
                yield {"result": result.content, "of": result.tool_call_id}
                messages.append(result)


def said(message) -> Seen:
    calls = [(call["id"], call["name"], json.dumps(call["args"])) for call in message.tool_calls]
    usage = message.usage_metadata and tuple(
        message.usage_metadata[k] for k in ("input_tokens", "output_tokens")
    )
    told = message.response_metadata
    return answer(message.text, calls, told.get("finish_reason") or told.get("status"), usage)


if __name__ == "__main__":
    serve(chat=chat, responses=responses)
