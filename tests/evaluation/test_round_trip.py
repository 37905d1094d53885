"""The round trip with toy models: what is asked, what is counted, and how arms are averaged."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from megatron_codex.errors import InputError
from megatron_codex.evaluation.bleu import require_nltk, sentence_bleu
from megatron_codex.evaluation.round_trip import Bleu, grade_docstrings
from megatron_codex.records import Completion, Problem, Verdict


def _problem(task_id: str, docstring: str) -> Problem:
    return Problem(
        task_id=task_id,
        prompt=f'def f(x):\n    """{docstring}"""\n',
        entry_point="f",
        canonical_solution="    return x\n",
        test="def check(candidate): pass",
        signature="def f(x):\n",
        docstring=docstring,
        body="    return x\n",
    )


PROBLEMS = [_problem("a", "Return x."), _problem("b", "Give x back.")]


def _verdict(name: str) -> Verdict:
    return Verdict(verdict=name, detail="", cpu_s=0, wall_s=0, isolation="none")  # type: ignore[arg-type]


class _Toys:
    """A docstring model with fixed samples; a code model that copies its prompt; a judge that reads it."""

    def __init__(self, docstrings: dict[str, list[str]], good: set[str], broken: set[str] | None = None) -> None:
        self.docstrings, self.good, self.broken = docstrings, good, broken or set()
        self.code_prompts: list[str] = []
        self.docstring_prompts: list[str] = []

    def write_docstrings(self, prompts: Sequence[tuple[str, str]]) -> list[Completion]:
        self.docstring_prompts = [prompt for _, prompt in prompts]
        return [Completion(task_id=task, completion=text) for task, _ in prompts for text in self.docstrings[task]]

    def write_code(self, prompts: Sequence[tuple[str, str]]) -> list[Completion]:
        assert len({task for task, _ in prompts}) == len(prompts)
        self.code_prompts = [prompt for _, prompt in prompts]
        return [Completion(task_id=task, completion=prompt) for task, prompt in prompts]

    def judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        def name(prompt: str) -> str:
            if any(text in prompt for text in self.broken):
                return "infra"
            return "passed" if any(text in prompt for text in self.good) else "wrong"

        return [_verdict(name(completion)) for _, completion in pairs]


def _run(toys: _Toys, bleu: Bleu | None = None) -> tuple[dict[str, float], dict[str, object]]:
    result = grade_docstrings(
        PROBLEMS, write_docstrings=toys.write_docstrings, write_code=toys.write_code, judge=toys.judge, bleu=bleu
    )
    return {arm["arm"]: arm["pass_rate"] for arm in result.summary["arms"]}, result.summary


def test_prompts_carry_the_generated_true_and_no_docstring() -> None:
    toys = _Toys({"a": ['    """Same."""'], "b": ['    """Other."""']}, good=set())
    _run(toys)
    assert toys.docstring_prompts == ["def f(x):\n    return x\n"] * 2
    assert toys.code_prompts == [
        'def f(x):\n    """Same."""\n',
        'def f(x):\n    """Other."""\n',
        'def f(x):\n    """Return x."""\n',
        "def f(x):\n",
        'def f(x):\n    """Give x back."""\n',
        "def f(x):\n",
    ]


def test_a_sample_without_a_readable_docstring_fails_and_is_counted() -> None:
    samples = {"a": ['    """Good."""', "    return 3", '    """never closed'], "b": ['    """Bad."""'] * 3}
    rates, summary = _run(_Toys(samples, good={"Good.", "Return x.", "Give x"}))
    assert rates == {"generated docstring": pytest.approx(1 / 6), "true docstring": 1.0, "no docstring": 0.0}
    assert (summary["without_docstring"], summary["num_docstrings"]) == (2, 6)


def test_harness_faults_are_no_failures() -> None:
    samples = {"a": ['    """Good."""', '    """Broken."""'], "b": ['    """Good."""'] * 2}
    rates, summary = _run(_Toys(samples, good={"Good."}, broken={"Broken."}))
    assert rates["generated docstring"] == 1.0
    assert (summary["left_out_infra"], summary["left_out_problems"]) == (1, 0)


def test_a_problem_whose_bound_was_not_judged_is_left_out_of_all_arms() -> None:
    samples = {"a": ['    """Good."""'], "b": ['    """Bad."""']}
    rates, summary = _run(_Toys(samples, good={"Good."}, broken={"Give x"}))
    assert rates["generated docstring"] == 1.0 and summary["left_out_problems"] == 1
    with pytest.raises(InputError, match="the harness failed on every problem"):
        _run(_Toys(samples, good=set(), broken={"def f"}))


@pytest.mark.parametrize(
    ("bleus", "expected"),
    [
        ({"Good.": 0.9, "Bad.": 0.1}, 1.0),
        ({"Good.": 0.1, "Bad.": 0.9}, -1.0),
        ({"Good.": 0.5, "Bad.": 0.5}, None),
    ],
    ids=["agrees", "contradicts", "constant"],
)
def test_bleu_is_correlated_with_what_passes(bleus: dict[str, float], expected: float | None) -> None:
    """A sample without a docstring has neither, and counts for nothing here."""
    samples = {"a": ['    """Good."""', '    """Bad."""', "    return 3"], "b": ['    """Bad."""'] * 3}
    _, summary = _run(_Toys(samples, good={"Good."}), bleu=lambda reference, text: bleus.get(text, 0.0))
    found = summary["bleu_correlation"]
    assert found == (None if expected is None else pytest.approx(expected))


def test_bleu_is_one_for_equal_texts_and_falls_with_distance() -> None:
    same = sentence_bleu("Return the sum of all numbers.", "Return the sum of all numbers.")
    near = sentence_bleu("Return the sum of all numbers.", "Return the sum of the numbers.")
    far = sentence_bleu("Return the sum of all numbers.", "Reverse a string.")
    assert same == pytest.approx(1.0) and same > near > far >= 0
    assert sentence_bleu("Return x.", "") == 0.0


def test_a_missing_nltk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(InputError, match=r"needs nltk.*--no-bleu"):
        require_nltk()
