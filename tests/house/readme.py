"""The command blocks of the README, and of pages like it, and how each is really run.

- A `bash` block is run line by line, a `python` block as a script, a `yaml` block is written to the file
  that its first line names. They run in order, in one empty folder, as a reader would run them.
- A command that runs until Ctrl-C (SERVERS) starts in the background once it says that it is up; it ends
  with Ctrl-C before the next of them, and must then end well.
- A page's ports are those of the defaults; each run takes free ones in their place, so that it
  disturbs nobody.
- What checks or tests the whole (BY_CI) is run by .ci/run, which a test holds it to.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.house.files import REPOSITORY
from tests.servers import free_port

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python", "yaml")
NOT_RUN = ("", "text")
SERVERS = ("make run", "rolltrace up", "rolltrace --")
BY_CI = ("make check", "make test")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    text: str
    line: int


def blocks(text: str = README) -> Iterator[Block]:
    """Every fenced block of the README, or of another page's text, in order."""
    for match in BLOCK.finditer(text):
        yield Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)


class Server:
    """A command that runs until SIGINT; made once it is up."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            shlex.split(command),
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.worker = ""
        self._up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._up.wait(PATIENCE) or self._process.poll() is not None:
            self._process.kill()
            raise AssertionError(f"{command} did not come up")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if worker := re.search(r"http://127\.0\.0\.1:\d+$", line.strip()):
                self.worker = self.worker or worker[0]
            if "Ctrl-C" in line:
                self._up.set()
        self._up.set()

    def stop(self) -> int:
        """The exit status after Ctrl-C, which reaches the whole process group."""
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


class Reader:
    """Somebody who follows a page from its beginning to its end. `known` stands for what the page names."""

    def __init__(self, folder: Path, page: str = "README.md", known: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._page = page
        self._known = known or {}
        self._ports = {"9090": str(free_port()), "9091": str(free_port())}
        self._server: Server | None = None
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **os.environ,
            "PATH": path,
            "HOME": str(folder),
            "ROLLTRACE_PORT": self._ports["9090"],
            "ROLLTRACE_CONTROL_PORT": self._ports["9091"],
            "ROLLTRACE_CONTROL": f"127.0.0.1:{self._ports['9091']}",
        }

    def follow(self, block: Block) -> None:
        """Run one block; AssertionError when it fails."""
        text = self._with_free_ports(block.text)
        if block.language == "yaml":
            (self._folder / text.split("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        elif block.language == "python":
            self._run(["python", "-c", text], block)
        else:
            for command in text.splitlines():
                self._follow_command(command, block)

    def close(self) -> None:
        """Stop what still runs; it must end well."""
        server, self._server = self._server, None
        if server is not None:
            assert server.stop() in (0, -signal.SIGINT)  # make dies of the signal, whatever its recipe did

    def _follow_command(self, command: str, block: Block) -> None:
        if command in BY_CI:
            return
        if command.startswith(SERVERS):
            self.close()
            self._server = Server(self._in_checkout(command), self._folder, self._environment)
        else:
            self._run(shlex.split(self._in_checkout(command)), block)

    def _in_checkout(self, command: str) -> str:
        """make, in the checkout but with this environment for .venv and this folder's data."""
        if not command.startswith("make "):
            return command
        venv = Path(sys.prefix)
        settled = f"-o {venv}/.runs -o {venv}/.develops VENV={venv} DB={self._folder}/data"
        return f"make -s -C {REPOSITORY} {settled} {command.removeprefix('make ')}"

    def _with_free_ports(self, text: str) -> str:
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        for name, value in self._known.items():
            text = text.replace(name, value)
        if self._server is not None and self._server.worker:
            text = text.replace("http://127.0.0.1:9092", self._server.worker)
        return text

    def _run(self, command: list[str], block: Block) -> None:
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, (
            f"{self._page}:{block.line}: {command[-1]}\nended with {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
