"""What importing the client brings along: the standard library, grpc and protobuf, nothing else."""

from __future__ import annotations

import subprocess
import sys

IMPORTED = """
import sys, grpc, google.protobuf
before = set(sys.modules)
import rolltrace_client, rolltrace_client.__main__
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""


def test_only_grpc_and_protobuf_come_along() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= {"google", "rolltrace", "rolltrace_client", "rolltrace_settings"}


def test_numpy_and_zstd_wait_until_they_are_needed() -> None:
    script = IMPORTED + "print('numpy' in sys.modules, 'zstandard' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False False"
