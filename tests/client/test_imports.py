"""What importing the client brings along: the standard library, grpc and protobuf, nothing else."""

from __future__ import annotations

import subprocess
import sys

IMPORTED = """
import sys
before = set(sys.modules)
import rolltrace_client, rolltrace_client.__main__
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""


def test_only_grpc_and_protobuf_come_along() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    # grpc's own: typing_extensions, and what compiled modules leave behind.
    brought = {name for name in found.stdout.split() if not name.startswith("_")}
    brought -= {"typing_extensions", "cython_runtime"}
    assert brought == {"google", "grpc", "rolltrace", "rolltrace_client"}


def test_numpy_and_zstd_wait_until_they_are_needed() -> None:
    script = IMPORTED + "print('numpy' in sys.modules, 'zstandard' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False False"
