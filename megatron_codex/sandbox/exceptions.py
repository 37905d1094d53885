"""Exceptions across a process border: as names and a message, and rebuilt from the builtin classes."""

from __future__ import annotations

import builtins
from typing import Any

_MAX_MESSAGE_CHARS = 500


def form_of_exception(error: BaseException) -> dict[str, Any]:
    """The names of the exception's classes, most special first, and its message."""
    try:
        message = str(error)[:_MAX_MESSAGE_CHARS]
    except BaseException:
        message = "its message cannot be made"
    return {"raised": [kind.__name__ for kind in type(error).__mro__], "message": message}


def exception_of(form: dict[str, Any]) -> BaseException:
    """The exception as the most special builtin class it derives from. Raises: LookupError, TypeError if malformed."""
    message = str(form.get("message", ""))[:_MAX_MESSAGE_CHARS]
    for name in form["raised"]:
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            try:
                return kind(message)
            except TypeError:  # UnicodeDecodeError and its like want more than a message
                continue
    return RuntimeError(message)
