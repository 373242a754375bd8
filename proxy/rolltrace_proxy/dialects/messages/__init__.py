"""Anthropic's Messages API as a dialect of chat completions.

The prompt is the one that vLLM's own /v1/messages makes of a request, so that an agent sees the same model
behind either. `request` and `content` go to the worker, `answer` gathers what comes back, `stream` writes
it as events, `errors` says what went wrong, `dialect` joins them. Decisions only.
"""
