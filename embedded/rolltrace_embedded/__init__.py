"""Rolltrace inside a trainer: `rolltrace.Gateway` starts the services beside it, and may serve its own model.

Nothing of the services is imported here, nor by a Gateway without a handler: they are processes of their own.
"""

from rolltrace_embedded.errors import AnswerError, GatewayError
from rolltrace_embedded.gateway import Gateway
from rolltrace_embedded.sample import Sample

__all__ = ["AnswerError", "Gateway", "GatewayError", "Sample"]
