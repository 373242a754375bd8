"""Brings the traces of rLLM's gateway over from its SQLite file: `python -m rolltrace_store.rllm`, which
`rolltrace import` runs.

`record` and `answer` decide what a record becomes, `source` reads the file, `importing` and `__main__` are
shells.
"""
