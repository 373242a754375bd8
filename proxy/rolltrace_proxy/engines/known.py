"""The engines by their names, as Worker.engine has them. A new one is added here, and to the names that the
settings and control allow."""

from __future__ import annotations

from rolltrace.v1.worker_pb2 import Worker
from rolltrace_proxy.engines.interface import Engine
from rolltrace_proxy.engines.llamacpp import LLAMACPP
from rolltrace_proxy.engines.openai import OPENAI
from rolltrace_proxy.engines.sglang import SGLANG
from rolltrace_proxy.engines.vllm import VLLM

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (VLLM, SGLANG, LLAMACPP, OPENAI)}


def engine_of(worker: Worker) -> Engine:
    """vLLM's until it is known; a name that this version does not know is any server of OpenAI's API."""
    name = worker.engine or worker.detected_engine
    return ENGINES.get(name, OPENAI) if name else VLLM
