"""Answers of a worker in vLLM's shape: the ids 1, 2, 3 for a prompt of 7, 8, with log-probabilities."""

from __future__ import annotations

import struct

IDS, LOGPROBS, PROMPT = [1, 2, 3], [-0.5, -0.25, -1.0], [7, 8]


def ids(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def floats(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _logprobs(values: list[float]) -> dict[str, object]:
    return {"content": [{"token": "x", "logprob": v, "bytes": [120], "top_logprobs": []} for v in values]}


def chat_answer(n: int = 1) -> dict[str, object]:
    choices: list[dict[str, object]] = [
        {
            "index": index,
            "message": {"role": "assistant", "content": f"answer {index}"},
            "logprobs": _logprobs(LOGPROBS),
            "finish_reason": "stop",
            "token_ids": IDS,
        }
        for index in range(n)
    ]
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": choices,
        "usage": {"prompt_tokens": 2, "completion_tokens": 3 * n, "total_tokens": 2 + 3 * n},
        "prompt_token_ids": PROMPT,
    }


def role_chunk(index: int = 0) -> dict[str, object]:
    choice: dict[str, object] = {
        "index": index,
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": None,
    }
    return _chunk(choice) | {"prompt_token_ids": PROMPT}


def token_chunk(place: int, index: int = 0) -> dict[str, object]:
    """The token number `place` of 3; the last one has the finish reason."""
    choice: dict[str, object] = {
        "index": index,
        "delta": {"content": f"t{place}"},
        "logprobs": _logprobs([LOGPROBS[place]]),
        "finish_reason": "stop" if place == 2 else None,
        "token_ids": [IDS[place]],
    }
    return _chunk(choice)


def chat_chunks() -> list[dict[str, object]]:
    return [role_chunk(), *[token_chunk(place) for place in range(3)]]


def _chunk(choice: dict[str, object]) -> dict[str, object]:
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
