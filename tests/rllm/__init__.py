"""The published client of rLLM's gateway on Rolltrace and on rLLM's own gateway, side by side.

`client/walk.py` calls every method with good and bad input, in the environment of that client; `compare`
finds where the answers differ, and each such place must be in the table of `differences`. `make test-rllm`
runs it.
"""
