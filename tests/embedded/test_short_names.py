"""`import rolltrace`: names that cost nothing until they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rolltrace
import rolltrace_client
import rolltrace_embedded


@pytest.mark.parametrize("name", rolltrace.__all__)
def test_every_name_is_that_of_its_part(name: str) -> None:
    home = rolltrace_client if hasattr(rolltrace_client, name) else rolltrace_embedded
    assert getattr(rolltrace, name) is getattr(home, name)
    assert name in dir(rolltrace)


def test_other_names_are_not_there() -> None:
    missing = "Gatewy"
    with pytest.raises(AttributeError, match="module 'rolltrace' has no attribute 'Gatewy'"):
        getattr(rolltrace, missing)


def loaded(statement: str) -> set[str]:
    """The top-level packages that a statement brings along, but for the standard library."""
    script = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(found.stdout.split()) - sys.stdlib_module_names


def test_the_stubs_bring_nothing_along() -> None:
    brought = loaded("import rolltrace.v1.trace_pb2") - loaded("import google.protobuf.struct_pb2")
    assert brought == {"rolltrace"}


def test_a_gateway_without_a_handler_brings_no_service_and_no_grpc() -> None:
    brought = loaded("import rolltrace; rolltrace.Gateway(workers=['http://a:1'])")
    assert not brought & {"grpc", "lmdb", "httptools", "rolltrace_proxy", "rolltrace_store", "uvloop"}
