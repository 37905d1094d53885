"""An exception of a traced call as data: its class and, where telling that runs no code of its own, its message."""

from __future__ import annotations

from typing import Any

_MAX_MESSAGE_CHARS = 500  # exceptions.py of the sandbox cuts messages there
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_PLAIN = frozenset(map(id, (str, int, float, bool, bytes, type(None))))


def describe_exception(error: BaseException) -> dict[str, Any]:
    """{"raises": name of its class}, and "message" where both __str__ and what it shows are builtin."""
    kind = type(error)
    described: dict[str, Any] = {"raises": type.__dict__["__name__"].__get__(kind)}
    if type(kind) is not type:
        return described
    shows: Any = next(base for base in kind.__mro__ if "__str__" in vars(base))
    shown = list(BaseException.__dict__["args"].__get__(error))
    if OSError in kind.__mro__:
        shown += [OSError.__dict__[name].__get__(error) for name in ("filename", "filename2")]
    if not shows.__flags__ & _HEAP_TYPE and all(id(type(each)) in _PLAIN for each in shown):
        described["message"] = shows.__str__(error)[:_MAX_MESSAGE_CHARS]
    return described
