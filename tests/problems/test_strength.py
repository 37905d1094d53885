"""How strong recorded calls are: measured in the jail, and of one mind with the judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.mutants import make_mutants
from megatron_codex.problems.replay import program_of
from megatron_codex.problems.strength import Strength, measure_strengths
from megatron_codex.sandbox.pool import JudgePool
from tests.problems.extracted import call, extracted

pytestmark = pytest.mark.usefixtures("isolation")


def _measure(*functions: ExtractedFunction, num_mutants: int = 30) -> list[Strength]:
    return measure_strengths(functions, num_mutants=num_mutants, num_workers=2)


_SIGN = "def f(x):\n    if x > 0:\n        return 'more'\n    return 'less' if x < 0 else 'none'\n"
_SIGN_CALLS = [call(5, output="more"), call(9, output="more"), call(-5, output="less"), call(0, output="none")]


def test_branches_are_those_of_the_bytecode_and_each_call_covers_its_own() -> None:
    (strength,) = _measure(extracted(_SIGN, *_SIGN_CALLS), num_mutants=1)
    assert len(strength.branches) == 2
    assert [strength.exits_covered([place]) for place in range(4)] == [1, 1, 2, 2]
    assert [strength.exits_covered(places) for places in ([0, 1], [0, 2], [2, 3], [0, 2, 3])] == [1, 3, 3, 4]
    assert strength.arcs[0] == strength.arcs[1] != strength.arcs[2]


def test_kills_agree_with_the_judge() -> None:
    function = extracted(_SIGN, *_SIGN_CALLS)
    (strength,) = _measure(function)
    mutants = make_mutants(function.source, name="f", limit=30)
    assert strength.num_mutants == len(mutants)
    programs = [
        replace(program_of(function, [example]), source=mutant.source) for example in _SIGN_CALLS for mutant in mutants
    ]
    with JudgePool(2) as pool:
        passed = {index: verdict.passed for index, verdict in pool.judge(programs)}
    for place in range(len(_SIGN_CALLS)):
        failed = {number for number in range(len(mutants)) if not passed[place * len(mutants) + number]}
        assert strength.killed_by([place]) == failed
    assert strength.trivial and strength.passed_by([0, 1]) == ["return 'more'"]
    assert strength.passed_by(range(4)) == []
    assert 0 < len(strength.killed_by([0])) < len(strength.killed_by(range(4)))


def test_only_what_the_assertions_see_kills() -> None:
    """An argument that is changed otherwise, an exception of another class; a message or a bool for 1 does not."""
    changes = {"args": [[2, 1]], "kwargs": {}, "output": None}
    source = "def f(x):\n    x.sort()\n    return None\n"
    unseen, seen = _measure(extracted(source, changes), extracted(source, {**changes, "changes": {"0": [1, 2]}}))
    assert len(unseen.kills[0]) < len(seen.kills[0])
    raising = "def f(x):\n    raise KeyError('a' + str(x))\n"
    (strength,) = _measure(extracted(raising, call(1, raises="KeyError")))
    mutants = make_mutants(extracted(raising).source, name="f", limit=30)
    names = {mutants[number].source.partition("raise ")[2] for number in strength.killed_by([0])}
    assert "KeyError(str(x))\n" not in names
    assert any("pass" in mutants[number].source for number in strength.killed_by([0]))


def test_a_mutant_without_end_is_killed_by_the_call_in_which_it_is_stopped() -> None:
    source = "def f(x):\n    while x > 3:\n        x -= 1\n    return x\n"
    (strength,) = _measure(extracted(source, call(1, output=1), call(9, output=3)))
    mutants = make_mutants(extracted(source).source, name="f", limit=30)
    (endless,) = [number for number, mutant in enumerate(mutants) if "        pass\n" in mutant.source]
    assert endless in strength.kills[1] and endless not in strength.kills[0]


def test_objects_and_the_classes_that_a_context_defines() -> None:
    context = "import datetime as decimal\nclass Box:\n    pass\n\n\n"
    box = {"O": ["m", "Box", [["size", {"x": ["decimal.Decimal", ["1.5"]]}]]]}
    source = "def f(box):\n    box.size += box.size\n    return [box, decimal.date.min.year]\n"
    (strength,) = _measure(extracted(source, call(box, output=[box, 1]), context=context))
    assert strength.arcs[0] and strength.killed_by([0])


_WORLD = [
    ("return time.time() > x", "the clock"),
    ("return datetime.datetime.now().year > x", "the clock"),
    ("return datetime.date.today().year > x", "the clock"),
    ("return os.environ.get('HOME', x)", "the environment"),
    ("return os.getenv('HOME') or x", "the environment"),
    ("return os.path.abspath('a') + str(x)", "the environment"),
    ("return random.choice([x])", "random numbers"),
    ("return random.Random().random() < x", "random numbers"),
    ("return os.urandom(0) + b'1' * x", "random numbers"),
    ("open('/dev/null').close()\n    return x", "files"),
    ("return [os.path.exists('/'), x]", "files"),
    ("return helper(x)", "the clock"),
    ("return [random.Random(3).random(), x]", ""),
    ("return os.path.join('a', os.path.normpath(str(x)))", ""),
    ("import colorsys\n    return colorsys.rgb_to_hsv(x, x, x)", ""),
    ("return datetime.date(2020, 1, x).isoformat()", ""),
]


@pytest.fixture(scope="module")
def watched(isolation: None) -> dict[str, Strength]:
    context = "import datetime, os, random, time\ndef helper(x):\n    return time.time() > x\n\n\n"
    one = call(1, output=1)
    functions = [extracted(f"def f(x):\n    {body}\n", one, context=context) for body, _ in _WORLD]
    strengths = _measure(*functions, num_mutants=1)
    return {body: strength for (body, _), strength in zip(_WORLD, strengths, strict=True)}


@pytest.mark.parametrize(("body", "reads"), _WORLD)
def test_what_a_call_reads_of_the_world_is_named(body: str, reads: str, watched: dict[str, Strength]) -> None:
    assert watched[body].reads == [frozenset([reads] if reads else [])]
    assert watched[body].arcs[0]


def test_a_report_tells_chosen_first_and_all_recorded_apart() -> None:
    strength = Strength(
        arcs=[frozenset({("f", 2, 4)}), frozenset({("f", 2, 4)}), frozenset({("f", 2, 9), ("f", 4, 6)})],
        kills=[frozenset({0}), frozenset(), frozenset({1, 2})],
        reads=[frozenset()] * 3,
        branches=frozenset({("f", 2)}),
        num_mutants=4,
    )
    assert strength.report([2], [0, 1]) == {
        "mutants": 4, "killed": 2, "surviving": 2, "killed_by_first": 1, "killed_by_recorded": 3,
        "mutation_score": 0.5, "branch_exits": 2, "covered": 1, "covered_by_first": 1, "covered_by_recorded": 2,
    }  # fmt: skip
    assert strength.of([2]).kills == [frozenset({1, 2})]
    assert replace(strength, num_mutants=0).mutation_score([0]) == 1.0
