"""Made-up sessions for the tests of delta coding: traces that repeat their history as agents do."""

from __future__ import annotations

import json
import random
import struct
import uuid

from rolltrace.v1 import trace_pb2 as pb

_COMMON = ["the", "a", "of", "to", "in", "file", "error", "line", "def", "return", "self", "open", "list"]


def ids(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def trace(
    prompt: bytes = b"",
    sampled: tuple[bytes, ...] = (),
    request: bytes = b"",
    response: bytes = b"",
    session_id: str = "s",
) -> pb.Trace:
    """A FULL trace of these pieces, with a new trace_id."""
    made = pb.Trace(
        trace_id=str(uuid.uuid4()),
        session_id=session_id,
        model="m",
        endpoint="chat/completions",
        status=pb.CALL_STATUS_COMPLETED,
        prompt_token_ids=prompt,
        request_json=request,
        response_json=response,
        labels={"run": "1"},
        attempt_count=1,
    )
    for index, token_ids in enumerate(sampled):
        logprobs = bytes(len(token_ids))
        made.completions.add(index=index, token_ids=token_ids, logprobs=logprobs, finish_reason="stop")
    return made


class Agent:
    """An agent whose every turn sends the whole history, in ids and in JSON: about 500 ids more a turn."""

    def __init__(self, seed: int, session_id: str = "s") -> None:
        self._random = random.Random(seed)
        self._session_id = session_id
        self._context = self._ids(1000)
        self._messages: list[dict[str, str]] = [{"role": "system", "content": self._text(1000)}]

    def turn(self) -> pb.Trace:
        """The next call; its answer becomes part of the history."""
        self._context += self._ids(300)
        self._messages.append({"role": "user", "content": self._text(300)})
        body = {"model": "m", "messages": self._messages, "temperature": 0.7, "max_tokens": 4096}
        sampled, answer = self._ids(200), self._text(200)
        message = {"role": "assistant", "content": answer}
        made = trace(
            self._context,
            (sampled,),
            json.dumps(body).encode(),
            json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode(),
            self._session_id,
        )
        logprobs = (-self._random.expovariate(2) for _ in range(200))
        made.completions[0].logprobs = struct.pack("<200f", *logprobs)
        made.completions[0].message_json = json.dumps(message).encode()
        self._context += sampled
        self._messages.append(message)
        return made

    def _ids(self, count: int) -> bytes:
        """Few ids are frequent and most are rare, as in text."""
        return ids(*(min(int(self._random.paretovariate(0.4)), 150_000) for _ in range(count)))

    def _text(self, count: int) -> str:
        return " ".join(self._word() for _ in range(count))

    def _word(self) -> str:
        """Of about four characters; one in four is rare."""
        rare = self._random.random() < 0.25
        return f"{self._random.getrandbits(16):x}" if rare else self._random.choice(_COMMON)
