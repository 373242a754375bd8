"""What a running process holds, read from /proc (Linux).

Rule: resident memory is told as the kernel counts it, and apart from it what is the process's own. The rest
is pages of files, above all of the LMDB environment, which the kernel takes back whenever it needs them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `resident` is all of it, `own` what no file stands behind, `peak` the most that was resident."""

    resident: int
    own: int
    peak: int


def memory(pid: int) -> Memory:
    """Raises FileNotFoundError or ProcessLookupError when the process has ended."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = {
        name: int(rest.split()[0]) * 1024
        for name, _, rest in (row.partition(":") for row in rows)
        if rest.endswith(" kB")
    }
    if "VmRSS" not in sizes:  # it has ended, and nobody has waited for it
        raise ProcessLookupError(pid)
    return Memory(sizes["VmRSS"], sizes["RssAnon"], sizes["VmHWM"])


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def idle_seconds(cores: Collection[int]) -> float:
    """How long these cores have had nothing to do."""
    rows = Path("/proc/stat").read_text().splitlines()
    names = {f"cpu{core}" for core in cores}
    idle = [row.split()[4:6] for row in rows if row.split(maxsplit=1)[0] in names]
    return sum(int(ticks) for pair in idle for ticks in pair) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> Iterator[tuple[int, str]]:
    """The children of a process, as (pid, command line)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue  # ended meanwhile
            yield int(child), command.replace(b"\0", b" ").decode(errors="replace").strip()
