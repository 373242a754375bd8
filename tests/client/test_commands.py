"""The `rolltrace` command against a real gRPC server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from rolltrace.v1 import session_pb2, trace_pb2
from rolltrace_client.__main__ import main

from .canned import Canned
from .canned_state import EPOCH, State, int32s


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rolltrace_client", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def rolltrace(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; in this process, which is quicker."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse
            status = end.code if isinstance(end.code, int) else 1
    return status, out.getvalue(), err.getvalue()


class Shell:
    """The command, told where the server is."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, *arguments: str) -> str:
        status, out, err = rolltrace("--control", self.target, *arguments)
        assert (status, err) == (0, "")
        return out

    def json(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]

    def status(self, *arguments: str) -> tuple[int, str, str]:
        return rolltrace("--control", self.target, *arguments)

    def refused(self, *arguments: str) -> tuple[int, str]:
        status, _, err = rolltrace("--control", self.target, *arguments)
        return status, err


@pytest.fixture
def run(server: Canned) -> Shell:
    return Shell(server.target)


def test_sessions(run: Shell) -> None:
    shown = run("sessions", "create", "a/b:0", "--label", "task=x", "--sampling-params", '{"top_p": 0.5}')
    assert "http://127.0.0.1:9090/sessions/a/b:0/v1" in shown
    [listed] = run.json("sessions", "list", "--label", "task=x")
    assert listed == run.json("sessions", "show", "a/b:0")[0]
    assert (listed["state"], listed["sampling_params"]) == ("OPEN", {"top_p": 0.5})
    assert run("sessions", "list").split()[:2] == ["ID", "STATE"]
    assert run("sessions", "delete", "a/b:0") == "deleted: sessions 1, traces 0\n"
    assert run.refused("sessions", "delete", "a/b:0") == (1, "rolltrace: no such session: a/b:0\n")


def test_a_session_is_sealed_and_verified(run: Shell, state: State) -> None:
    run("sessions", "create", "s", "--max-calls", "9", "--max-time", "60")
    state.record("s", 2)
    assert 'limits                  {"max_calls": 9' in run("sessions", "show", "s")
    status, out, err = run.status("sessions", "verify", "s")
    assert (status, out) == (1, "")
    assert "wrong: session s is OPEN: seal it first" in err
    shown = run("sessions", "seal", "s", "--status", "success", "--reward", "1", "--in-flight", "cancel")
    assert '"status": "success"' in shown
    assert [made["session_id"] for made in run.json("sessions", "list", "--state", "sealed")] == ["s"]
    assert run.json("sessions", "list", "--state", "sealing") == []
    assert run("sessions", "verify", "s").startswith("verified: 2 calls, digest ")
    assert run.json("sessions", "verify", "s") == [
        {"wrong": [], "missing": [], "verified": True, "complete": True}
    ]
    state.traces["t-1"].completions[0].logprobs = bytes(8)
    assert run.refused("sessions", "verify", "s")[0] == 1
    assert run.json("traces", "list", "s")[0]["digest"] == state.traces["t-0"].digest.hex()


def test_what_a_session_lacks_is_told_in_words(run: Shell, state: State) -> None:
    state.record("s")
    run("sessions", "seal", "s")
    state.sessions["s"].incomplete = True
    state.sessions["s"].incomplete_reasons.add(kind=session_pb2.INCOMPLETE_KIND_INTERRUPTED, call_count=1)
    words = "1 call interrupted: the proxy went away meanwhile, or the store was full"
    assert f"incomplete              {words}\n" in run("sessions", "show", "s")
    assert run("sessions", "list").splitlines()[1].split()[2:5] == ["1", "0", "yes"]
    assert run.status("sessions", "verify", "s")[::2] == (0, f"incomplete: {words}\n")


def test_workers(run: Shell, state: State) -> None:
    urls = ["http://127.0.0.1:8000", "http://127.0.0.1:8001"]
    assert [w["url"] for w in run.json("workers", "add", *urls, "--model", "m", "--weight", "2")] == urls
    assert "127.0.0.1:8001" in run("workers", "list")
    state.workers["127.0.0.1:8000"].detected_engine = "sglang"
    assert "sglang (found)" in run("workers", "list")
    state.workers["127.0.0.1:8000"].engine = "vllm"
    assert "(found)" not in run("workers", "list")
    assert [w["model_names"] for w in run.json("workers", "list")] == [["m"], ["m"]]
    assert run("workers", "remove", "127.0.0.1:8000", "--drain", "1") == "127.0.0.1:8000 removed\n"
    assert run.refused("workers", "add", *urls, "--id", "w")[0] == 2


def test_policy(run: Shell) -> None:
    assert run("policy", "show") == "no version was ever set\n"
    assert run("policy", "set", "step-000120").startswith("policy version  step-000120\n")
    assert run.json("policy", "show") == [
        {"policy_version": "step-000120", "change_time": "2026-01-02T03:04:05.500000+00:00"}
    ]


def test_a_blob_is_written_as_it_is(state: State, server: Canned) -> None:
    name = state.keep(bytes(range(256)))
    for digest, status in ((name, 0), (bytes(32), 1)):
        command = [sys.executable, "-m", "rolltrace_client", "--control", server.target, "traces", "blob"]
        done = subprocess.run([*command, digest.hex()], capture_output=True, timeout=60, check=False)
        assert (done.returncode, bool(done.stderr)) == (status, bool(status))
        assert done.stdout == (b"" if status else bytes(range(256)))


def test_traces_are_shown_token_by_token(run: Shell, state: State) -> None:
    [made] = state.record("s")
    made.prompt_token_ids = int32s(*range(1000, 1100))
    made.response_json = json.dumps(
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": "Hello\n"},
                    "logprobs": {"content": [{"token": "Hel"}, {"token": "lo\n"}]},
                }
            ]
        }
    ).encode()
    made.capture_gaps.add(kind=trace_pb2.CAPTURE_GAP_KIND_LOGPROBS, completion_index=0, message="one is NaN")
    shown = run("traces", "show", "t-0")
    assert "1007 ... 84 more (--all) ... 1092" in shown
    assert "missing    LOGPROBS of completion 0: one is NaN" in shown
    assert '  "Hello\\n"\n' in shown
    table = [line.split() for line in shown.splitlines()[-3:]]
    assert table == [
        ["#", "id", "logprob", "text"],
        ["0", "7", "-0.5000", '"Hel"'],
        ["1", "8", "missing", '"lo\\n"'],
    ]
    assert "1050" in run("traces", "show", "t-0", "--all")


def test_tool_calls_and_plain_text_are_shown_and_what_is_neither_is_not(run: Shell, state: State) -> None:
    called = {"tool_calls": [{"function": {"name": "look", "arguments": '{"at": 1}'}}]}
    choices: list[dict[str, object]] = [{"message": called}, {"text": "so"}, {"message": ["odd"]}]
    for made, choice in zip(state.record("s", 3), choices, strict=True):
        made.response_json = json.dumps({"choices": [{"index": 0, **choice}]}).encode()
    called_with, text, odd = (run("traces", "show", f"t-{number}").splitlines() for number in range(3))
    assert '  calls look({"at": 1})' in called_with
    assert '  "so"' in text
    assert len(odd) == len(text) - 1


def test_a_call_without_a_prompt_says_so(run: Shell, state: State) -> None:
    [made] = state.record("s")
    made.prompt_token_ids = b""
    assert "\nprompt, no ids\n" in run("traces", "show", "t-0")


def test_the_version_is_told() -> None:
    assert rolltrace("--version")[:2] == (0, f"rolltrace {version('rolltrace')}\n")


def test_traces_as_json_are_whole_and_never_invented(run: Shell, state: State) -> None:
    state.record("s", 2)
    [first, second] = run.json("traces", "list", "s")
    assert second["prompt_token_ids"] == [0, 1, 7, 8, 1, 2]
    assert first["completions"][0]["logprobs"] == [-0.5, None]
    assert second["request"] == {"messages": [1]}
    assert run.json("traces", "list", "s", "--metadata", "--limit", "1")[0]["prompt_token_ids"] == []
    assert run("traces", "list", "s").splitlines()[0].split()[0] == "#"


def test_tail_follows_and_its_cursor_goes_on(server: Canned) -> None:
    made = server.state.record("s", 3)
    process = start("traces", "tail", "--json", "--from-start", "--control", server.target)
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    made += server.state.record("s")
    lines.append(json.loads(process.stdout.readline()))
    assert [line["trace_id"] for line in lines] == [trace.trace_id for trace in made]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
    rest = Shell(server.target).json("traces", "tail", "--after", lines[1]["cursor"], "--limit", "2")
    assert [line["trace_id"] for line in rest] == ["t-2", "t-3"]


def test_a_reader_that_leaves_ends_tail_quietly(server: Canned) -> None:
    server.state.record("s", 2)
    process = start("traces", "tail", "--from-start", "--control", server.target)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "#0  COMPLETED  2+2 tokens" in process.stdout.readline()
    process.stdout.close()
    server.state.record("s", 20)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_status(run: Shell, state: State) -> None:
    state.record("s", 2)
    assert f"cursor       {EPOCH}:4" in run("status")
    assert run.json("status")[0]["trace_count"] == 2


def test_the_service_is_taken_from_the_environment(server: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLTRACE_CONTROL", server.target)
    status, out, _ = rolltrace("status", "--json")
    assert (status, json.loads(out)["version"]) == (0, "canned")


def test_errors_are_one_line_and_a_status(run: Shell) -> None:
    assert run.refused("sessions", "show", "x") == (1, "rolltrace: there is no session 'x'\n")
    status, out, err = rolltrace("--control", "127.0.0.1:1", "status")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("rolltrace: no control service at 127.0.0.1:1: is `rolltrace up` running?")
    assert run.refused("traces", "tail", "--after", "nonsense")[0] == 2
    assert run.refused("sessions", "create", "--metadata", "[]")[0] == 2
    assert run.refused("nothing")[0] == 2
    assert run.refused("db")[1].endswith(": the following arguments are required: action\n")


@pytest.mark.parametrize("group", ["workers", "sessions", "traces", "db"])
def test_help_gives_examples(group: str) -> None:
    status, out, _ = rolltrace(group, "--help")
    assert status == 0
    assert f"examples:\n  rolltrace {group} " in out


def test_db_hands_over_to_the_store(tmp_path: Path) -> None:
    package = tmp_path / "rolltrace_store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    process = start("db", "check", "--db-path", "x", "--json", PYTHONPATH=str(tmp_path))
    assert process.communicate(timeout=60) == ("['check', '--db-path', 'x', '--json']\n", "")
    assert process.returncode == 3
