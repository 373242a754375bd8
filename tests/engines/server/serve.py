"""llama.cpp's own HTTP server, in this process, until it is told to end.

python serve.py MODEL.gguf PORT
"""

import signal
import sys

import xllamacpp


def main(model: str, port: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], int(port)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 2, 1
    params.use_jinja, params.warmup = True, False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
