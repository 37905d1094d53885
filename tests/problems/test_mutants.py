"""Mutants: one fault each, all different, none the original in disguise, the same in every process."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from megatron_codex.problems.functions import NotSplit
from megatron_codex.problems.mutants import Mutant, make_mutants
from megatron_codex.problems.mutation_operators import OPERATORS

_SOURCE = '''
LIMIT = 5


class Box:
    def size(self, n=1):
        return n * 2


@keep("name", 1)
def pick(items: "list[int]" = (), *, start=0):
    """Keep this 1 + 1."""
    total = []
    for item in items[start:]:
        if item < LIMIT and item != 3 or not item:
            continue
        try:
            total.append(max(item, start) + -item)
        except ValueError:
            break
    while total and total[-start] > 100:
        total.pop()
    return total
'''


def _named(operator: str, mutants: list[Mutant]) -> list[str]:
    return [mutant.source for mutant in mutants if mutant.operator == operator]


def test_every_operator_has_its_mutants_and_each_compiles() -> None:
    mutants = make_mutants(_SOURCE, name="pick")
    assert {mutant.operator for mutant in mutants} == set(OPERATORS)
    for mutant in mutants:
        compile(mutant.source, "mutant", "exec")


@pytest.mark.parametrize(
    ("body", "operator", "mutant"),
    [
        ("return a == b", "comparison", "return a != b"),
        ("return a < b", "boundary", "return a <= b"),
        ("return a + b", "arithmetic", "return a - b"),
        ("return a and b", "boolean", "return a or b"),
        ("return a if b else 1", "condition", "return 1 if b else a"),
        ("return a + 7", "constant", "return a + 8"),
        ("a.clear()\n    return b", "statement", "pass\n    return b"),
        ("return a * b", "return", "return b"),
        ("return a[b:]", "slice", "return a[b + 1:]"),
        ("for x in a:\n        if x:\n            break", "loop", "for x in a:\n        if x:\n            continue"),
        ("return f(a, b)", "arguments", "return f(b, a)"),
        ("return min(a, b)", "call", "return max(a, b)"),
        ("return [x for x in a if x]", "condition", "return [x for x in a if not x]"),
    ],
)
def test_an_operator_makes_the_fault_that_its_name_says(body: str, operator: str, mutant: str) -> None:
    sources = _named(operator, make_mutants(f"def f(a, b):\n    {body}\n", name="f"))
    assert f"def f(a, b):\n    {mutant}\n" in sources


def test_only_the_named_function_changes_and_its_docstring_annotations_and_decorators_stay() -> None:
    for name in ("pick", "Box.size"):
        for mutant in make_mutants(_SOURCE, name=name):
            tree, original = ast.parse(mutant.source), ast.parse(_SOURCE)
            same = [ast.dump(one) == ast.dump(two) for one, two in zip(tree.body, original.body, strict=True)]
            assert same == [True, name == "pick", name != "pick"]
            pick = tree.body[2]
            assert isinstance(pick, ast.FunctionDef)
            assert ast.get_docstring(pick) == "Keep this 1 + 1."
            assert ast.unparse(pick.args.args[0]) == "items: 'list[int]'"
            assert ast.unparse(pick.decorator_list[0]) == "keep('name', 1)"


def test_all_mutants_differ_and_one_with_the_same_bytecode_is_none() -> None:
    # With x a constant expression, "1 + 1" and "2" are the same program, and so are `return` and falling off the end.
    mutants = make_mutants("def f(x):\n    y = x\n    return None\n", name="f")
    assert "def f(x):\n    y = x\n    pass\n" not in [mutant.source for mutant in mutants]
    sources = [mutant.source for mutant in make_mutants(_SOURCE, name="pick")]
    assert len(set(sources)) == len(sources)


def test_a_limit_is_spread_over_the_operators_and_the_line_is_that_of_the_source() -> None:
    mutants = make_mutants(_SOURCE, name="pick", limit=len(OPERATORS))
    assert [mutant.operator for mutant in mutants] == list(OPERATORS)
    lines = _SOURCE.split("\n")
    assert all(mutant.line in range(10, len(lines)) for mutant in mutants)
    (boundary,) = [mutant for mutant in mutants if mutant.operator == "boundary"]
    assert lines[boundary.line - 1].strip()[:2] in ("if", "wh")


def test_the_seed_decides_the_choice_and_the_process_does_not() -> None:
    code = (
        "import sys; from megatron_codex.problems.mutants import make_mutants; "
        "print([mutant.source for mutant in make_mutants(sys.stdin.read(), name='pick', limit=20, seed=3)])"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=_SOURCE,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    ours = str([mutant.source for mutant in make_mutants(_SOURCE, name="pick", limit=20, seed=3)]) + "\n"
    assert texts == [ours, ours]
    assert ours != str([mutant.source for mutant in make_mutants(_SOURCE, name="pick", limit=20, seed=4)]) + "\n"


def test_a_script_without_functions_has_mutants_too() -> None:
    assert _named("arithmetic", make_mutants("print(int(input()) + 1)\n")) == [
        "print(int(input()) - 1)\n",
        "print(int(input()) * 1)\n",
    ]


@pytest.mark.parametrize(("source", "name"), [("def f(:\n", "f"), ("def f(): return 1\n", "g"), ("x = 1\n", "x.y")])
def test_a_missing_function_is_refused(source: str, name: str) -> None:
    with pytest.raises(NotSplit):
        make_mutants(source, name=name)
