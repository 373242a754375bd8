"""What importing the client brings along: the standard library, grpc and protobuf, nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import rolltrace_client

IMPORTED = """
import sys, grpc, google.protobuf
before = set(sys.modules)
from rolltrace_client import *
import rolltrace_client.__main__
from rolltrace_client.commands import bring, db, policy, sessions, status, traces, up, workers
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""


def test_only_grpc_and_protobuf_come_along() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= {"google", "rolltrace", "rolltrace_client", "rolltrace_settings"}


def test_numpy_and_zstd_wait_until_they_are_needed() -> None:
    script = IMPORTED + "print('numpy' in sys.modules, 'zstandard' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize("name", rolltrace_client.__all__)
def test_every_name_is_found_in_its_module(name: str) -> None:
    home = rolltrace_client._HOME_OF[name]  # pyright: ignore[reportPrivateUsage]
    module = importlib.import_module(f"rolltrace_client.{home}")
    value = getattr(rolltrace_client, name)
    assert value is getattr(module, name)
    assert getattr(value, "__module__", module.__name__) in (module.__name__, "types", "typing")
    assert name in dir(rolltrace_client)


def test_modules_are_attributes_and_other_names_are_not() -> None:
    script = "import rolltrace_client; print(rolltrace_client.aio.AsyncClient.__name__)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "AsyncClient\n"
    missing = "Clients"
    with pytest.raises(AttributeError, match="has no attribute 'Clients'"):
        getattr(rolltrace_client, missing)
    assert set(rolltrace_client._HOME_OF) == set(rolltrace_client.__all__)  # pyright: ignore[reportPrivateUsage]
