"""Ask a server directly, with nothing between: the truth that traces are compared with.

Only the standard library, so that no client's habits stand in the way.
"""

import http.client
import json
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

Json = dict[str, Any]

IDS = {"return_token_ids": True}
CHAT_LOGPROBS: Json = {**IDS, "logprobs": True}
COMPLETION_LOGPROBS: Json = {**IDS, "logprobs": 1}


def post(url: str, body: Json) -> Json:
    """The answer to a request that is not streamed."""
    with _open(url, body) as answer:
        return cast(Json, json.loads(answer.read()))


def stream(url: str, body: Json) -> Iterator[Json]:
    """The chunks of a streamed answer, without [DONE]."""
    with _open(url, {**body, "stream": True}) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return cast(bytes, answer.read())


def _open(url: str, body: Json) -> http.client.HTTPResponse:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", "authorization": "Bearer x"}
    )
    return cast(http.client.HTTPResponse, urllib.request.urlopen(request, timeout=300))


def sampled(answer: Json, endpoint: str) -> list[tuple[list[int], list[float]]]:
    """(token ids, log-probabilities) of each choice of a whole answer."""
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    return [(choice["token_ids"], _logprobs(choice, endpoint)) for choice in choices]


def sampled_stream(chunks: list[Json], endpoint: str) -> list[tuple[list[int], list[float]]]:
    """The same, of a stream's chunks."""
    choices: dict[int, tuple[list[int], list[float]]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            ids, logprobs = choices.setdefault(choice["index"], ([], []))
            ids += choice.get("token_ids") or []
            logprobs += _logprobs(choice, endpoint)
    return [choices[index] for index in sorted(choices)]


def prompt_ids(answer: Json) -> list[int]:
    """The prompt's ids, in whichever of vLLM's places they stand."""
    ids: list[int] = answer.get("prompt_token_ids") or answer["choices"][0]["prompt_token_ids"]
    return ids


def _logprobs(choice: Json, endpoint: str) -> list[float]:
    given = choice.get("logprobs")
    if not given:
        return []
    if endpoint == "completions":
        return list(given["token_logprobs"])
    return [entry["logprob"] for entry in given["content"]]
