"""Good inputs to begin with: recorded exchanges with a real vLLM, behind the bytes that steer a target."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.struct_pb2 import Struct

from rolltrace.v1 import event_pb2, session_pb2, trace_pb2, trace_service_pb2, worker_pb2
from rolltrace_store import delta, presence, schema
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.request import Answer
from rolltrace_store.schema.session_trace import CallKey, CallRow
from rolltrace_store.session_key import session_key
from tests.fuzz.access import SECRET
from tests.fuzz.records import CODECS
from tests.proxy.samples import ALL, STREAMS, WHOLES

_UUID = "01234567-89ab-cdef-0123-456789abcdef"
TRACE = trace_pb2.Trace(
    trace_id=_UUID,
    session_id="s/1",
    endpoint="chat/completions",
    status=trace_pb2.CALL_STATUS_COMPLETED,
    prompt_token_ids=b"\1\0\0\0\2\0\0\0",
    request_json=b'{"messages":[]}',
    response_json=b'{"choices":[]}',
    labels={"task": "x"},
    completions=[trace_pb2.Completion(token_ids=b"\3\0\0\0", logprobs=b"\0\0\0\xbf", finish_reason="stop")],
)


def streams() -> list[bytes]:
    """Every recorded stream, short ones first, once for an agent that asked for nothing, once cut small."""
    bodies = sorted((sample.body for sample in STREAMS), key=len)
    chat, plain = bytes((1, 1)), bytes((4, 1))
    return (
        [chat + b"\0" + b for b in bodies]
        + [plain + b"\2\6\0" + b.replace(b"\n", b"\r\n") for b in bodies]
        + [
            bytes((7, 1, 0))
            + b'data: {"choices":[{"index":0,\ndata: "text":"a","token_ids":[1],"logprobs":null}]}\n\n',
            bytes((1, 1, 0)) + b'data: {"error":{"message":"no"}}\n\ndata: [DONE]\n\n',
        ]
    )


def frames() -> list[bytes]:
    mixed = b"\xef\xbb\xbf: c\r\ndata: a\rdata\r\revent: e\n\ndata:  b\r\n\r\nid: 1\n\n"
    return [b"\0" + sample.body[:2000] for sample in STREAMS[:3]] + [b"\2\0\4" + mixed]


def wholes() -> list[bytes]:
    return [bytes((asked, 0)) + s.body for asked in (0, 4, 6, 8) for s in WHOLES] + [
        bytes((0, 3)) + s.body for s in ALL if s.status >= 400
    ]


def request_bodies() -> list[bytes]:
    bodies = sorted({sample.request for sample in ALL})
    return [bytes((place % 4, place % 5, place % 2)) + body for place, body in enumerate(bodies)]


def json_bodies() -> list[bytes]:
    return [sample.body for sample in WHOLES] + [b'{"a":NaN,"b":"\\ud83d","c":[-Infinity]}']


def request_targets() -> list[bytes]:
    return [
        *(
            b"/sessions/s/v1/chat/completions",
            b"/sessions/harbor/hello-world:0/v1/completions?a=b",
            b"/v1/models",
        ),
        *(
            b"http://h:1/sessions/a%2Fb%20c/v1/x",
            b"/sessions/\xc3\xa4/v1",
            b"/sessions/s/v1/../x",
            b"/health",
        ),
    ]


def header_fields() -> list[bytes]:
    return [b"\1Connection: close, X-Own\nX-Own: 1\nContent-Length: 5\nAuthorization: a\nX-Two: 2\nX-Two: 2"]


def codecs() -> list[bytes]:
    values: dict[int, Any] = {
        CODECS.index(schema.COUNTERS.value): Counters(3, 1, True),
        CODECS.index(schema.LOG.value): Entry(event_pb2.EVENT_KIND_TRACE, TRACE.SerializeToString()),
        CODECS.index(schema.SESSION_TRACES.key): CallKey("s", 7),
        CODECS.index(schema.SESSION_TRACES.value): CallRow(9, _UUID),
        CODECS.index(schema.REQUESTS.value): Answer(5, "CreateSession", b"d" * 32, b"answer"),
        CODECS.index(schema.REQUEST_TIMES.key): Age(5, "r"),
        CODECS.index(schema.SESSIONS.value): session_pb2.Session(
            session_id="s", labels={"a": "b"}, metadata=Struct()
        ),
        CODECS.index(schema.WORKERS.value): worker_pb2.Worker(worker_id="w", url="http://w", weight=1.0),
        CODECS.index(schema.TRACE_IDS.key): _UUID,
    }
    return [bytes((at,)) + CODECS[at].encode(value) for at, value in values.items()]


def two_traces() -> list[bytes]:
    trace = b"\0\x08" + b"\1\0\0\0" * 2 + b"\x11" + b'{"messages":[{}]}' + b"\2\4\3\0\0\0\4\4\0\0\0"
    return [
        trace + trace + b"\1",
        trace.replace(b"\0\x08", b"\3\x08") * 2,
        b"\1\0\3" + (trace + b"\0\1\0\1") * 3,
    ]


def compact_traces() -> list[bytes]:
    base, new = trace_pb2.Trace(), trace_pb2.Trace()
    base.CopyFrom(TRACE)
    new.CopyFrom(TRACE)
    new.trace_id = _UUID[::-1]
    new.prompt_token_ids += base.completions[0].token_ids + b"\7\0\0\0"
    pieces = delta.Pieces.of(new)
    shared = delta.match(delta.Pieces.of(base), pieces)
    made: list[bytes] = []
    for full, body in (
        (base, delta.encode(new, pieces, "", base.trace_id, shared).body),
        (new, delta.encode(new, pieces, "").body),
    ):
        stored = full.SerializeToString()
        made.append(len(stored).to_bytes(2) + stored + body)
    return made


def reports() -> list[bytes]:
    report = presence._encode({"pid": 1, "in_flight": {"w": 1}})  # pyright: ignore[reportPrivateUsage]
    return [b"\0\0\0\1\1a\0\1\0\0\0\2\1b\0\2\7" + report]


def yaml_files() -> list[bytes]:
    bombs = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nworkers: [*c, *c]\n"
    return [
        b"# all\nport: 9090\nmax_db_size: 64GiB\ndrain_timeout: 1.5s\ndurability: process\nhost: h\n",
        b"workers:\n  - http://a:8000/v1\n  - url: 'http://b:1'\n    weight: 2.5\n    api_key: SECRETKEY\n"
        b'    model_name: m\n    engine: vllm\n    api_path: /v2\nmodel: "m"\n',
        b"workers: [{url: http://a, api_key: SECRETKEY}, &w {url: http://b}, *w]\nport: !!int '9'\n",
        bombs,
        b"auth: token\nadmin_token_file: 'x'\ntls_cert_file: \"y\"\n",
        b"{port: 0x50, health_interval: 250ms, proxies: 2, drain_timeout: 0, log_level: debug}\n---\n",
    ]


def environments() -> list[bytes]:
    listed = json.dumps([{"url": "http://a", "weight": 2, "api_key": "k"}]).encode()
    return [
        b"PORT=9090\0DRAIN_TIMEOUT=0.00001\0WORKERS=http://a,http://b\0MAX_DB_SIZE=1.5GiB",
        b"HOST=::1\0LOG_LEVEL=debug\0WORKERS=" + listed,
    ]


def command_lines() -> list[bytes]:
    return [b"--port\0009090\0--worker\0http://a:1/v1\0--worker=http://b\0--durability\0power", b"--prot=1"]


def subscriptions() -> list[bytes]:
    after = trace_service_pb2.SubscribeRequest(after=trace_service_pb2.Cursor(epoch="e", sequence=3))
    latest = trace_service_pb2.SubscribeRequest(position=trace_service_pb2.START_POSITION_LATEST)
    latest.filter.session_ids.append("s")
    latest.filter.kinds.append(event_pb2.EVENT_KIND_TRACE)
    head = b"\0\5\0\0\0\0"
    return [b"0123456789abcdef:17", *(head + each.SerializeToString() for each in (after, latest))]


def details() -> list[bytes]:
    info = b"\x0a\x05STALE\x1a\x06\x0a\x01a\x12\x01b"
    delay = b"\x0a\x04\x08\x02\x10\x05"
    packed = [_any(b"google.rpc.ErrorInfo", info), _any(b"google.rpc.RetryInfo", delay)]
    return [b"\x08\x09" + b"".join(b"\x1a" + bytes((len(each),)) + each for each in packed)]


def _any(kind: bytes, body: bytes) -> bytes:
    url = b"type.googleapis.com/" + kind
    return b"\x0a" + bytes((len(url),)) + url + b"\x12" + bytes((len(body),)) + body


def names() -> list[bytes]:
    worker = worker_pb2.Worker(url="http://10.0.0.7:8000/v1", weight=2.0, api_path="/v1/")
    return [
        *(b"http://v1", b"https://a.b:8000/v1/", b"http://[::1]:1", _UUID.encode(), b"harbor/hello:0"),
        worker.SerializeToString(),
    ]


def workers() -> list[bytes]:
    return [b"\1\1s\1\4" + b"\1\0\x40\0\3\1\0" * 4, b"\0\1s\0\4" + b"\0\0\x40\1\0" * 4]


def steps() -> list[bytes]:
    return [bytes(range(12)), b"\1" * 12, b"\0\1\0\1\0\1\x80\0\x80\0\x80\2"]


def pages() -> list[bytes]:
    return [b"\5scope\1x\7place/1" + b"MTIzNDU2Nzg5MDEycGxhY2U="]


def keys() -> list[bytes]:
    return [b"\5a/b:0" + session_key(SECRET, "other").encode(), b"\1s" + b"rt-cw.AAAA"]


def keyed_fields() -> list[bytes]:
    admin, key, plain = b"\0\1\1A", b"\0\1\1K", b"\0\1\1P"
    return [b"\1k" + key, b"\1k" + admin, b"\0" + key, b"\0" + plain, b"\1s" + key + admin, b"\0\2\0\1K"]


def repeats() -> list[bytes]:
    short = [sample for sample in STREAMS if len(sample.body) < 8000]
    return [bytes((1, 0x31, 1 if s.endpoint.startswith("chat") else 7)) + s.body for s in short]
