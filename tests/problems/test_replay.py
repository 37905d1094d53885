"""Calls made again: under other hash seeds and in other orders, iterators' items taken on the way."""

from __future__ import annotations

import pytest

from megatron_codex.problems.iterators import with_items
from megatron_codex.problems.jailed_calls import JailedCalls
from megatron_codex.problems.replay import find_unstable, replay_functions
from megatron_codex.sandbox.pool import JudgePool
from tests.problems.extracted import call, extracted

pytestmark = pytest.mark.usefixtures("isolation")


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
    letters = [call(text, output=sorted(text)) for text in ("abcdefgh", "ijklmnop")]
    functions = [
        extracted("def f(x):\n    return sorted(set(x))\n", *letters),
        extracted("def f(x):\n    return list(set(x))\n", *letters),
        extracted("def f(x):\n    seen.append(x)\n    return len(seen)\n", call(1, output=1), call(5, output=2),
                  context="seen = []\n\n\n"),
        extracted("def f(x):\n    x.append(1)\n", *(call([n], output=None, changes={"0": [n, 1]}) for n in (1, 2))),
    ]  # fmt: skip
    assert sorted(find_unstable(functions, _open_pool, num_repeats=2)) == [1, 2]


def test_calls_that_do_not_come_out_the_same_are_left_out_one_by_one() -> None:
    right, wrong = call([2, 1], output=None, changes={"0": [1, 2]}), call([3], output=None, changes={"0": [4]})
    (replayed,) = replay_functions([extracted("def f(x):\n    x.sort()\n", right, wrong)], _open_pool)
    assert replayed.examples == [right]
    assert replayed.fault.startswith("wrong")


def test_items_of_iterators_are_taken_from_the_function_itself() -> None:
    examples = [
        call([1, 2], iterator=None),
        call([], iterator=[]),
        call([7] * 300, iterator=None),
        call([-1], iterator=None),
        call([None], iterator=None),
    ]
    source = (
        "def f(x):\n    if x and x[0] == -1:\n        return itertools.count()\n"
        "    if x and x[0] is None:\n        return map(object, [[]])\n    return zip(x, x)\n"
    )
    (function,) = with_items([extracted(source, *examples, context="import itertools\n\n\n")], num_workers=1)
    assert function.examples == [call([1, 2], iterator=[{"t": [1, 1]}, {"t": [2, 2]}]), examples[1]]
    (replayed,) = replay_functions([function], _open_pool)
    assert replayed.examples == function.examples
