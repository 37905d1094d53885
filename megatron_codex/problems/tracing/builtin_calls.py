"""Calls of builtin functions, which no engine sees: wrappers in the place of what a module holds.

In: names such as "math.gcd". Out: the recorder's samples, of kind "builtin". What is missed: calls from C code, from
modules that took the function out of its module before the suite began, and of methods and classes. A wrapper is a
Python function, so inspect.isbuiltin says no to it.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType
from typing import Any

from megatron_codex.problems.tracing.origins import STDLIB
from megatron_codex.problems.tracing.recorder import Recorder, Samples


class NoBuiltinError(ValueError):
    """A name that stands for no builtin function of a module."""


class BuiltinCalls:
    """Wrappers, from start to stop."""

    def __init__(self, recorder: Recorder, names: Iterable[str]) -> None:
        """Raises: NoBuiltinError."""
        self._recorder = recorder
        self._thread = threading.local()
        self._originals = [(name, *_find(name)) for name in names]

    def start(self) -> None:
        for name, module, attribute, function in self._originals:
            samples = self._recorder.add_builtin(f"{STDLIB}:{name}")
            fields = {"origin": STDLIB, "file": module.__name__, "name": attribute, "line": 0}
            self._recorder.add(samples, **fields)
            setattr(module, attribute, self._wrapper(samples, function))

    def stop(self) -> None:
        for _, module, attribute, function in self._originals:
            setattr(module, attribute, function)

    def _wrapper(self, samples: Samples, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            pending = self._quietly(self._recorder.begin, samples, args, kwargs)
            try:
                value = function(*args, **kwargs)
            except BaseException as error:
                if pending is not None:
                    self._quietly(self._recorder.end_raised, pending, error)
                raise
            if pending is not None:
                self._quietly(self._recorder.end, pending, value)
            return value

        return wrapper

    def _quietly(self, work: Callable[..., Any], *args: Any) -> Any:
        """None for a call that the recorder itself makes, or fails with."""
        if getattr(self._thread, "is_recording", False):
            return None
        self._thread.is_recording = True
        try:
            return work(*args)
        except Exception:
            return None
        finally:
            self._thread.is_recording = False


def _find(name: str) -> tuple[Any, str, Callable[..., Any]]:
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        function = vars(module)[attribute]
    except (ImportError, KeyError, ValueError) as error:
        raise NoBuiltinError(f"{name}: there is no such function") from error
    if type(function) is not BuiltinFunctionType:
        raise NoBuiltinError(f"{name}: is a {type(function).__name__}, no builtin function")
    return module, attribute, function
