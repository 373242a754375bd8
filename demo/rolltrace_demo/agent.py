"""An agent as anybody would write it: the openai SDK and a base URL. It knows nothing of Rolltrace.

Its turns go round: a question that is answered by a tool call; the answer that uses the tool's result,
streamed; a plain follow-up. Each turn is one model call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam

CITIES = ("Paris", "Lima", "Oslo", "Hanoi", "Accra")
ANSWER_TOKENS = 64
CALL_TOKENS = 256
WEATHER: ChatCompletionToolUnionParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": list(CITIES)}},
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the conversation."""

    who: str
    text: str


class Agent:
    """Runs turns against `base_url`; `on_text` gets the pieces of a streamed answer as they come."""

    def __init__(
        self, base_url: str, model: str, on_text: Callable[[str], None], api_key: str = "unused"
    ) -> None:
        self._openai = OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        self._model = model
        self._on_text = on_text
        self._messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": "You are a weather reporter. Be brief."}
        ]

    def turns(self, count: int) -> Iterator[list[Said]]:
        """What was said in each turn; each makes one call."""
        steps = (self._call_a_tool, self._answer_streamed, self._answer)
        for turn in range(count):
            city = CITIES[turn // len(steps) % len(CITIES)]
            yield steps[turn % len(steps)](city)

    def close(self) -> None:
        """Close the connections."""
        self._openai.close()

    def _call_a_tool(self, city: str) -> list[Said]:
        question = f"What is the weather in {city}?"
        self._messages.append({"role": "user", "content": question})
        said = [Said("user", question)]
        answer = self._openai.chat.completions.create(
            model=self._model,
            messages=self._messages,
            tools=[WEATHER],
            tool_choice="required",
            max_tokens=CALL_TOKENS,
        )
        message = answer.choices[0].message
        calls = [call for call in message.tool_calls or () if call.type == "function"]
        self._messages.append(
            {
                "role": "assistant",
                "content": message.content,
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.function.name, "arguments": call.function.arguments},
                    }
                    for call in calls
                ],
            }
        )
        for call in calls:
            result = json.dumps({"sky": "clear", "celsius": 21})
            said.append(Said("model", f"calls {call.function.name}({call.function.arguments})"))
            said.append(Said("tool", result))
            self._messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        return said

    def _answer_streamed(self, city: str) -> list[Said]:
        pieces: list[str] = []
        with self._openai.chat.completions.create(
            model=self._model, messages=self._messages, tools=[WEATHER], tool_choice="none",
            max_tokens=ANSWER_TOKENS, stream=True,
        ) as chunks:  # fmt: skip
            for chunk in chunks:
                for choice in chunk.choices:
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        self._on_text(choice.delta.content)
        self._messages.append({"role": "assistant", "content": "".join(pieces)})
        return []

    def _answer(self, city: str) -> list[Said]:
        question = f"And what should I wear in {city}?"
        self._messages.append({"role": "user", "content": question})
        answer = self._openai.chat.completions.create(
            model=self._model, messages=self._messages, tools=[WEATHER], tool_choice="none",
            max_tokens=ANSWER_TOKENS,
        )  # fmt: skip
        text = answer.choices[0].message.content or ""
        self._messages.append({"role": "assistant", "content": text})
        return [Said("user", question), Said("model", text)]


def first_model(base_url: str, api_key: str = "unused") -> str:
    """The first model that the workers serve."""
    with OpenAI(base_url=base_url, api_key=api_key, max_retries=0) as openai:
        return openai.models.list().data[0].id
