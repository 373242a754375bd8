"""`rolltrace workers`: the inference servers that calls are forwarded to."""

from __future__ import annotations

import argparse
import sys

from ..access import text_of_file, token_of_file
from .arguments import Subparsers, add_command, add_group, connect
from .output import print_json, print_table

EXAMPLES = """\
examples:
  rolltrace workers add http://10.0.0.7:8000 http://10.0.0.8:8000 --model Qwen/Qwen3-4B
  rolltrace workers list
  rolltrace workers remove 10.0.0.7:8000 --drain 60
"""


def register(groups: Subparsers) -> None:
    commands = add_group(groups, "workers", "add, list and remove inference servers", EXAMPLES)
    add = add_command(commands, "add", "add workers, or change those that are there", _add)
    add.add_argument("urls", metavar="URL", nargs="+", help="e.g. http://10.0.0.7:8000")
    add.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        default=[],
        help="a model it serves (repeatable; none: all)",
    )
    add.add_argument("--weight", type=float, default=1.0, help="its share, relative to the others' (1)")
    add.add_argument("--id", default="", help="its name (made from the URL); for one URL only")
    add.add_argument("--api-path", default="", metavar="PATH", help="what stands for the agent's /v1 (/v1)")
    add.add_argument(
        "--api-key-file",
        default="",
        metavar="FILE",
        help="holds the key that is sent to it",
    )
    add.add_argument(
        "--ca-file", default="", metavar="FILE", help="its certificate must descend from one of these, PEM"
    )
    add.add_argument(
        "--engine",
        default="",
        choices=["vllm", "sglang", "llamacpp", "openai"],
        help="what it runs (found out by asking)",
    )
    add_command(commands, "list", "list the workers with their health", _list)
    remove = add_command(commands, "remove", "remove workers", _remove)
    remove.add_argument("ids", metavar="ID", nargs="+")
    remove.add_argument(
        "--drain", type=float, default=0.0, metavar="SECONDS", help="wait so long for their calls to end"
    )


def _add(arguments: argparse.Namespace) -> int:
    if arguments.id and len(arguments.urls) > 1:
        print("rolltrace: --id names one worker: give one URL", file=sys.stderr)
        return 2
    api_key = token_of_file(arguments.api_key_file) if arguments.api_key_file else ""
    with connect(arguments) as client:
        for url in arguments.urls:
            worker = client.register_worker(
                url,
                worker_id=arguments.id,
                model_names=arguments.model,
                weight=arguments.weight,
                api_path=arguments.api_path,
                api_key=api_key,
                engine=arguments.engine,
                ca_pem=text_of_file(arguments.ca_file),
            )
            if arguments.json:
                print_json(worker)
            else:
                print(f"{worker.worker_id}  {worker.url}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        workers = list(client.list_workers())
    if arguments.json:
        for worker in workers:
            print_json(worker)
        return 0
    headings = ["ID", "URL", "STATE", "HEALTH", "WEIGHT", "ENGINE", "MODELS", ""]
    rows = [
        (
            w.worker_id,
            w.url,
            w.state,
            w.health,
            w.weight or 1.0,
            w.engine or (w.detected_engine and f"{w.detected_engine} (found)"),
            w.model_names or "all",
            w.health_message,
        )
        for w in workers
    ]
    print_table(headings, rows)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        for worker_id in arguments.ids:
            drained = client.deregister_worker(worker_id, drain_timeout=arguments.drain)
            if arguments.json:
                print_json({"worker_id": worker_id, "drained": drained})
            else:
                print(f"{worker_id} removed" + ("" if drained else "; calls still run and are not cut off"))
    return 0
