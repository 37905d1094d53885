"""Functions as they come out of projects, made of a source, and calls of them."""

from __future__ import annotations

from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.functions import find_function, split_function
from megatron_codex.problems.traces import TracedFunction


def extracted(source: str, *examples: Example, context: str = "") -> ExtractedFunction:
    """The function f of a source."""
    return ExtractedFunction(
        traced=TracedFunction(file="m.py", qualname="f", line=1),
        module="m",
        entry_point="f",
        kind="function",
        context=context,
        parts=split_function(source, find_function(source, "f")),
        examples=list(examples),
    )


def call(*args: Any, **outcome: Any) -> Example:
    return {"args": list(args), "kwargs": {}, **outcome}
