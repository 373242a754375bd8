"""The first minute of Rolltrace: a small inference worker that really samples.

It speaks vLLM's wire format, so the tests use it as their upstream too. In a test:
`async with DemoWorker() as worker: worker.url` (`rolltrace_demo.worker_server`).
"""
