"""The requests that the worker understands, and the one table of the errors it answers with.

Fields that are not listed are accepted and ignored, as vLLM does. What the worker would have to
invent an answer for (`echo`, `prompt_logprobs`) is refused. Error bodies have vLLM's shape and
wording.
"""

from typing import TypeVar

import msgspec

MAX_TOP_LOGPROBS = 20


class RequestError(Exception):
    """A refusal: an HTTP status and the fields of the `error` object."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        kind: str = "BadRequestError",
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.kind = message, param, status, kind

    def body(self) -> dict[str, object]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }


class ContentPart(msgspec.Struct):
    type: str = "text"
    text: str = ""


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str | dict[str, object] = "{}"


class ToolCall(msgspec.Struct):
    function: FunctionCall


class Message(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The content as one string; parts that are not text have none."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class FunctionSpec(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None


class Tool(msgspec.Struct):
    function: FunctionSpec
    type: str = "function"

    def described(self) -> dict[str, object]:
        """What the prompt says of the tool, in a fixed order of keys."""
        function = self.function
        described: dict[str, object] = {"name": function.name}
        if function.description is not None:
            described["description"] = function.description
        if function.parameters is not None:
            described["parameters"] = function.parameters
        return {"type": self.type, "function": described}


class NamedFunction(msgspec.Struct):
    name: str


class NamedChoice(msgspec.Struct):
    function: NamedFunction


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class CommonRequest(msgspec.Struct, kw_only=True):
    """What chat and completions share."""

    model: str | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    ignore_eos: bool = False
    echo: bool | None = None
    prompt_logprobs: int | None = None

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(CommonRequest, kw_only=True):
    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedChoice | None = None


class CompletionRequest(CommonRequest, kw_only=True):
    prompt: str | list[str | int | list[int]]
    logprobs: int | None = None


class TokenizeRequest(msgspec.Struct):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[Tool] | None = None
    add_generation_prompt: bool = True


AnyRequest = TypeVar("AnyRequest", bound=msgspec.Struct)


def parse_request(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Raises RequestError where the body is not JSON or a field has the wrong type."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$")
        param = "body" + path.rstrip("`")
        raise RequestError(f"1 validation error:\n  {param}: {detail}", param, kind="Bad Request") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"1 validation error:\n  JSON decode error: {error}"
        raise RequestError(message, "body", kind="Bad Request") from error


def check_model(asked: str | None, served: str) -> None:
    if asked and asked != served:
        message = f"The model `{asked}` does not exist. Valid aliases: {served}."
        raise RequestError(message, "model", 404, "NotFoundError")


def check_sampling(request: CommonRequest, top_logprobs: int) -> None:
    """Raises RequestError for the first sampling parameter that is out of its range."""
    temperature, top_p, n = request.temperature, request.top_p, request.n
    if temperature is not None and temperature < 0:
        raise _out_of_range("temperature", "must be non-negative", temperature)
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise _out_of_range("top_p", "must be in (0, 1]", top_p)
    if n is not None and n < 1:
        raise _out_of_range("n", "must be at least 1", n)
    if n is not None and n > 1 and temperature == 0:
        raise RequestError(f"n must be 1 when using greedy sampling, got {n}.")
    if not 0 <= top_logprobs <= MAX_TOP_LOGPROBS:
        message = f"Requested sample logprobs of {top_logprobs}, which is not within 0 to max allowed: 20"
        raise RequestError(f"{message} (parameter=logprobs, value={top_logprobs})", "logprobs")
    for name in ("echo", "prompt_logprobs"):
        if getattr(request, name) not in (None, False):
            raise RequestError(f"The demo worker has no {name}: leave it out, or use a vLLM.", name)


def _out_of_range(name: str, rule: str, value: float) -> RequestError:
    return RequestError(f"{name} {rule}, got {value}. (parameter={name}, value={value})", name)
