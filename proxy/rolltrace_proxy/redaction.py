"""What is recorded of a request's body, when the operator's own function is to have a say.

Rules. The worker gets the body as it came; only the record changes. A body that the function could not
treat is not recorded, and the trace says so: the call goes on. Nothing that the function says of a body,
its exception's words least of all, reaches a log or a trace.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from rolltrace_proxy.call import Call
from rolltrace_settings.errors import SettingsError

Hook = Callable[[bytes, str], object]

log = logging.getLogger(__name__)


def load_hook(name: str) -> Hook | None:
    """The function that "module:function" names; None for "". Raises SettingsError."""
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        hook: object = getattr(importlib.import_module(module), function, None)
    except Exception as error:
        why = f"{module} cannot be imported ({type(error).__name__})"
        raise SettingsError(f"redact: {why}; install it, or name its folder in PYTHONPATH") from error
    if not callable(hook):
        raise SettingsError(
            f"redact: {module} has no function {function!r}; it takes (body: bytes, endpoint: str) -> bytes"
        )
    return hook


class Redaction:
    """Decides what of a call's body is kept. The function runs on the event loop: it must be quick."""

    def __init__(self, hook: Hook | None) -> None:
        self._hook = hook

    def apply(self, call: Call) -> None:
        """Sets what is recorded of the body that the call has read."""
        if self._hook is None:
            return
        try:
            kept = self._hook(call.request, call.endpoint)
        except Exception as error:
            self._drop(call, f"the redact function raised {type(error).__name__}")
            return
        if isinstance(kept, bytes):
            call.kept = kept
        else:
            self._drop(call, f"the redact function returned {type(kept).__name__}, not bytes")

    def _drop(self, call: Call, why: str) -> None:
        call.kept, call.not_kept = b"", why
        log.error("the body of call %s is not recorded: %s", call.trace_id, why)
