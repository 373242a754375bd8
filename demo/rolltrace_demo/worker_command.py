"""`python -m rolltrace_demo worker`: serve the demo worker until SIGINT or SIGTERM."""

import argparse
import asyncio
import signal
import sys

from rolltrace_demo.worker_server import DemoWorker

HELP = "serve a small model in vLLM's wire format"
DESCRIPTION = """\
Serves a byte-level n-gram model in vLLM's wire format: /v1/chat/completions, /v1/completions,
/v1/models, /tokenize, /health, /version, and /debug/state, which counts running, finished and
aborted calls. It really samples and its log-probabilities are true, so it stands in for a vLLM
wherever what is said does not matter. It needs no download and no GPU.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 picks a free one")
    parser.add_argument("--model", default="demo", metavar="NAME", help="the name it is served under")
    parser.add_argument(
        "--max-model-len",
        type=_at_least_one,
        default=131072,
        metavar="N",
        help="ids of prompt and answer together, at most",
    )
    parser.add_argument(
        "--stream-interval",
        type=_at_least_one,
        default=1,
        metavar="N",
        help="ids in one chunk of a stream, after the first",
    )
    parser.add_argument(
        "--token-delay",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="pause before every token",
    )
    parser.add_argument(
        "--keep-alive",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="send a comment after so much silence in a stream; 0 sends none",
    )
    parser.add_argument("--api-key", metavar="KEY", help="the bearer token that /v1 asks for")


def run(arguments: argparse.Namespace) -> int:
    options = {name: value for name, value in vars(arguments).items() if name != "run"}
    try:
        return asyncio.run(_serve(DemoWorker(**options)))
    except OSError as error:
        place = f"{arguments.host}:{arguments.port}"
        print(f"cannot listen on {place}: {error.strerror}; try another --port", file=sys.stderr)
        return 1


async def _serve(worker: DemoWorker) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with worker:
        print(f"demo worker: model {worker.model} at {worker.url}/v1", flush=True)
        await stopped.wait()
    return 0


def _at_least_one(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _seconds(text: str) -> float:
    if (value := float(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value
