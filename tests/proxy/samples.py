"""Recorded exchanges with a real vLLM: the request after "> ", a status line, headers, the body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rolltrace_proxy.capture import Captured
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.stream_answer import StreamAnswer
from rolltrace_proxy.whole_answer import read_whole_answer

SAMPLES = Path(__file__).parent.parent / "samples"


@dataclass(frozen=True)
class Sample:
    name: str
    endpoint: str
    request: bytes
    status: int
    streamed: bool
    body: bytes

    @property
    def asked(self) -> Rewrite:
        """The request as its agent sent it: what it asked for is its own."""
        return rewrite(self.endpoint, self.request, enforced={}, model="")

    @property
    def asked_for_agent(self) -> Rewrite:
        """As if the agent had asked for no tokens at all, and Rolltrace had."""
        return rewrite(self.endpoint, b'{"messages":[]}', enforced={}, model="")


def load(name: str) -> Sample:
    head, _, rest = (SAMPLES / f"{name}.txt").read_bytes().partition(b"\nHTTP/1.1 ")
    headers, _, body = rest.replace(b"\r\n", b"\n").partition(b"\n\n")
    path = head.splitlines()[0].split()[-1].decode()
    requests = [line[2:] for line in head.splitlines() if line.startswith(b"> {")]
    return Sample(
        name=name,
        endpoint=path.removeprefix("/v1/"),
        request=requests[0] if requests else b"",
        status=int(headers[:3]),
        streamed=b"text/event-stream" in headers,
        body=body.removesuffix(b"\n"),
    )


ALL = [load(path.stem) for path in sorted(SAMPLES.glob("*.txt"))]
TOKEN_ANSWERS = [
    sample
    for sample in ALL
    if sample.status == 200 and sample.endpoint in ("chat/completions", "completions")
]
STREAMS = [sample for sample in TOKEN_ANSWERS if sample.streamed]
WHOLES = [sample for sample in TOKEN_ANSWERS if not sample.streamed]


def read_stream(asked: Rewrite, pieces: list[bytes], *, ended: bool = True) -> tuple[bytes, bytes, Captured]:
    """What the agent gets before the commit and after it, and the capture."""
    answer = StreamAnswer(asked)
    before = b"".join([answer.feed(piece) for piece in pieces])
    captured = answer.capture(ended=ended)
    return before, answer.close(), captured


def read_sample(sample: Sample, asked: Rewrite | None = None) -> tuple[bytes, Captured]:
    asked = asked or sample.asked
    if sample.streamed:
        before, after, captured = read_stream(asked, [sample.body])
        return before + after, captured
    return read_whole_answer(asked, sample.status, sample.body)
