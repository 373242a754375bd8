"""The details of errors are read as googleapis writes them, and nothing that is broken gets in the way."""

from __future__ import annotations

from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_client import details
from rolltrace_client.details import Details


def status(*messages: Message) -> bytes:
    made = status_pb2.Status(code=3, message="no")
    for message in messages:
        made.details.add().Pack(message)
    return bytes(made.SerializeToString())


@settings(max_examples=25)
@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()), st.integers(0, 10**6))
def test_all_kinds_are_read(field: str, reason: str, metadata: dict[str, str], nanos: int) -> None:
    bad = rpc.BadRequest()
    bad.field_violations.add(field=field, description="x" * 200)
    retry = rpc.RetryInfo()
    retry.retry_delay.seconds, retry.retry_delay.nanos = 2, nanos
    info = rpc.ErrorInfo(reason=reason, domain="rolltrace", metadata=metadata)
    resource = rpc.ResourceInfo(resource_type="session", resource_name=field)
    unknown = rpc.Help(links=[rpc.Help.Link(url="u")])
    assert details.read(status(unknown, bad, info, resource, retry)) == Details(
        field=field, reason=reason, resource=field, metadata=metadata, retry_delay=2 + nanos / 1e9
    )


@given(st.binary())
def test_any_bytes_are_survived(data: bytes) -> None:
    details.read(data)


@given(st.integers(0, 200))
def test_a_cut_trailer_is_survived(length: int) -> None:
    whole = status(rpc.ErrorInfo(reason="R", metadata={"a": "b"}), rpc.ResourceInfo(resource_name="n"))
    assert details.read(whole[:length]).field == ""
