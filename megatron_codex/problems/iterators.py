"""Iterators as results: their items, which a tracer cannot look at without taking them from the project.

In: functions taken out of their projects, some of whose examples say `iterator: None`. Out: the same with the items,
as the function itself gives them in the jail; examples whose iterator has no end, or no plain items, are left out. The
replay then asks, as for every example, whether they come out the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.jailed_calls import JailedCalls
from megatron_codex.problems.observed_program import ITEMS, MAX_ITEMS, Observed

_TIMEOUT_S = 3.0


def is_unseen(example: Example) -> bool:
    """Whether its result is an iterator whose items are not known."""
    return "iterator" in example and example["iterator"] is None


def with_items(functions: Sequence[ExtractedFunction], *, num_workers: int) -> list[ExtractedFunction]:
    """Raises: WorkError when this machine cannot isolate programs."""
    if not any(is_unseen(example) for function in functions for example in function.examples):
        return list(functions)
    with JailedCalls(num_workers) as jailed, ThreadPoolExecutor(num_workers) as threads:
        return list(threads.map(lambda function: _complete(function, jailed), functions))


def _complete(function: ExtractedFunction, jailed: JailedCalls) -> ExtractedFunction:
    places = [place for place, example in enumerate(function.examples) if is_unseen(example)]
    if not places:
        return function
    source = Observed(function).source(function.source)
    calls = [{"args": [place], "kwargs": {}} for place in places]
    heard = jailed.run(source, ITEMS, calls, timeout_s=_TIMEOUT_S)
    items = {
        place: answer["value"]
        for place, answer in zip(places, heard.answers, strict=False)
        if type(answer.get("value")) is list and len(answer["value"]) <= MAX_ITEMS
    }
    examples = [
        {**example, "iterator": items[place]} if place in items else example
        for place, example in enumerate(function.examples)
    ]
    return replace(function, examples=[example for example in examples if not is_unseen(example)])
