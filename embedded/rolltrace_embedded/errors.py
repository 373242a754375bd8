"""What goes wrong in a gateway, and what a handler may say instead of an answer."""

from __future__ import annotations


class GatewayError(RuntimeError):
    """The services did not start, or have ended; the message holds what they said last."""


class AnswerError(Exception):
    """Raised by a handler: the agent gets an error of this status, in the OpenAI API's shape.

    e.g. AnswerError("the prompt has 9000 tokens, 8192 fit", 400, code="context_length_exceeded").
    """

    def __init__(self, message: str, status: int = 400, *, type: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type or ("server_error" if status >= 500 else "invalid_request_error")
        self.code = code

    def body(self) -> dict[str, object]:
        error = {"message": self.message, "type": self.type, "param": None, "code": self.code or self.status}
        return {"error": error}
