"""The servers that workers run, each of them an engine: one small adapter.

An engine says what a request has to ask for so that token ids and log-probabilities come back, where they
stand in the answer, and what of the answer the agent must not see. Everything behind it reads one grammar,
vLLM's: an adapter of another engine puts what it finds into vLLM's places. `interface` says what an engine
is, `known` which there are; docs/engines.md what each of them can give. Decisions only.
"""
