"""The HTTP paths of rLLM's gateway besides the data plane, for programs that are written against it.

Same paths, same JSON: `rllm-model-gateway`'s client works unchanged (tests/rllm holds it, and lists what
differs). Each path asks the control service, on its socket beside the environment. `routes` is loaded with
the proxy; all else, gRPC above all, with the first call that needs it. `routes`, `forms`, `trace_record` and
`errors` decide; `loading`, `pages` and `control` are shells.
"""
