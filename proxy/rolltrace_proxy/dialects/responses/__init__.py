"""OpenAI's Responses API, as a dialect of chat completions.

`request` and `items` make a chat completion of a request, as vLLM does where it serves the API itself, so
that the prompt is the same; `history` puts before it what earlier calls said that it only names. `answer` and
`stream` make a Response and its events of what comes back, from the parts in `output`. Nothing that the
agent sent is lost on the way: what chat completions can't say goes to the worker's own endpoint.
"""
