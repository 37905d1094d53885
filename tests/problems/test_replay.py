"""Calls made again: under other hash seeds and in other orders, iterators' items taken on the way."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.functions import find_function, split_function
from megatron_codex.problems.iterators import with_items
from megatron_codex.problems.jailed_calls import JailedCalls
from megatron_codex.problems.replay import find_unstable, replay_functions
from megatron_codex.problems.traces import TracedFunction
from megatron_codex.sandbox.pool import JudgePool

pytestmark = pytest.mark.usefixtures("isolation")


def _function(source: str, *examples: Example, context: str = "") -> ExtractedFunction:
    return ExtractedFunction(
        traced=TracedFunction(file="m.py", qualname="f", line=1),
        module="m",
        entry_point="f",
        kind="function",
        context=context,
        parts=split_function(source, find_function(source, "f")),
        examples=list(examples),
    )


def _call(*args: Any, **outcome: Any) -> Example:
    return {"args": list(args), "kwargs": {}, **outcome}


def _open_pool() -> JudgePool:
    return JudgePool(1)


def test_every_worker_process_has_a_hash_seed_of_its_own() -> None:
    seeds = set()
    for _ in range(4):
        with JailedCalls(1) as jailed:
            heard = jailed.run("def f():\n    return hash('a')\n", "f", [{"args": [], "kwargs": {}}], timeout_s=3.0)
            seeds.add(str(heard.answers))
    assert len(seeds) > 1


def test_what_depends_on_the_hash_seed_or_on_earlier_calls_is_found_unstable() -> None:
    letters = [_call(text, output=sorted(text)) for text in ("abcdefgh", "ijklmnop")]
    functions = [
        _function("def f(x):\n    return sorted(set(x))\n", *letters),
        _function("def f(x):\n    return list(set(x))\n", *letters),
        _function("def f(x):\n    seen.append(x)\n    return len(seen)\n", _call(1, output=1), _call(5, output=2),
                  context="seen = []\n\n\n"),
        _function("def f(x):\n    x.append(1)\n", *(_call([n], output=None, changes={"0": [n, 1]}) for n in (1, 2))),
    ]  # fmt: skip
    assert sorted(find_unstable(functions, _open_pool, num_repeats=2)) == [1, 2]


def test_calls_that_do_not_come_out_the_same_are_left_out_one_by_one() -> None:
    right, wrong = _call([2, 1], output=None, changes={"0": [1, 2]}), _call([3], output=None, changes={"0": [4]})
    (replayed,) = replay_functions([_function("def f(x):\n    x.sort()\n", right, wrong)], _open_pool)
    assert replayed.examples == [right]
    assert replayed.fault.startswith("wrong")


def test_items_of_iterators_are_taken_from_the_function_itself() -> None:
    examples = [
        _call([1, 2], iterator=None),
        _call([], iterator=[]),
        _call([7] * 300, iterator=None),
        _call([-1], iterator=None),
        _call([None], iterator=None),
    ]
    source = (
        "def f(x):\n    if x and x[0] == -1:\n        return itertools.count()\n"
        "    if x and x[0] is None:\n        return map(object, [[]])\n    return zip(x, x)\n"
    )
    (function,) = with_items([_function(source, *examples, context="import itertools\n\n\n")], num_workers=1)
    assert function.examples == [_call([1, 2], iterator=[{"t": [1, 1]}, {"t": [2, 2]}]), examples[1]]
    (replayed,) = replay_functions([function], _open_pool)
    assert replayed.examples == function.examples
