"""The APIs besides OpenAI's chat completions that agents speak, each of them a dialect of it.

A call in a dialect is translated: the worker is sent a chat completion, since that is where engines give
token ids and log-probabilities for all that they sample, and what comes back is put into the dialect's own
words. `interface` says what a dialect is, `answer` joins one to the reading of a chat answer; a file or a
folder a dialect. Decisions only.
"""
