"""A small disk of its own, which a test fills, protects, or cuts off from its power.

An ext4 file system in a file, mounted through a loop device. What the kernel holds of it in memory is not in
that file, exactly as what is in memory is not on a disk; `cut_power` makes the system write nothing more,
not even its journal (an ioctl of the kernel's own tests), and `power_on` mounts it anew. So what is there
afterwards is what had been synced, and what the kernel happened to have written by itself. A disk's own cache
is no part of it.

It needs root, mkfs.ext4 and loop devices; where these are missing the test is skipped and the report says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)."""
_NO_LOG_FLUSH = 2
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


@dataclass(frozen=True, slots=True)
class Disk:
    """`path` is where it is mounted."""

    image: Path
    path: Path

    def cut_power(self) -> None:
        """From now on nothing reaches the disk."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def power_on(self) -> None:
        """Mounts it anew; no process may use it meanwhile."""
        self.unmount()
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True, capture_output=True)

    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, left: int) -> None:
        """Leaves so many bytes of room, about."""
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as file:
            while (room := self.free() - left) > 0:
                file.write(bytes(min(room, 1 << 20)))

    def make_room(self) -> None:
        (self.path / "ballast").unlink()


@contextmanager
def disk(folder: Path, size: int) -> Generator[Disk]:
    """A disk of `size` bytes."""
    if os.geteuid() or not Path("/dev/loop-control").exists() or not shutil.which("mkfs.ext4"):
        pytest.skip("a disk of its own needs root, loop devices and mkfs.ext4")
    made = Disk(folder / "disk.img", folder / "disk")
    made.path.mkdir()
    with made.image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", made.image], check=True, capture_output=True)
    try:
        made.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device can be mounted here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.unmount()


def protect(file: Path, on: bool) -> None:
    """Makes a file immutable, even to those who have it open; or lets it be written again."""
    fd = os.open(file, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, struct.pack("l", 0)))
        flags = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(fd)
