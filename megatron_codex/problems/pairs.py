"""What a training task reads of problem files: prompt and completion of each problem, and what family it is of.

In: the task. Out: the reader of files that training takes, which knows no problems itself (training/datasets.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from megatron_codex.data.family_split import Pair, Pairs
from megatron_codex.problems.families import family_of, likenesses
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.render import Rendered, render_d, render_s
from megatron_codex.records import Problem

NOT_WRITTEN = "docstring_not_written"
"""Why Codex-D leaves a problem out: its provenance says that no human wrote its docstring."""


def pairs_reader(task: str) -> Callable[..., Pairs]:
    """task: as TrainConfig has it. The reader raises InputError as read_problems and the task's render function do."""

    def read_pairs(path: Path, *, families: bool = False) -> Pairs:
        """families: name each problem's family and its likenesses, too."""
        problems = read_problems(path)
        if task != "codex_d":
            return Pairs(pairs=_pairs(problems, render_s, families))
        written = [problem for problem in problems if is_docstring_written(problem)]
        left_out = {NOT_WRITTEN: len(problems) - len(written)}
        return Pairs(pairs=_pairs(written, render_d, families), left_out=left_out)

    return read_pairs


def is_docstring_written(problem: Problem) -> bool:
    """Whether people wrote the docstring, as far as its provenance says; where it says nothing, they did."""
    return bool(problem.provenance.get("docstring", "written") == "written")


def _pairs(problems: Sequence[Problem], render: Callable[[Problem], Rendered], families: bool) -> list[Pair]:
    alike = likenesses(problems) if families else [frozenset[int]()] * len(problems)
    views = map(render, problems)
    return [
        Pair(
            prompt=view.prompt,
            completion=view.completion,
            family=family_of(problem) if families else "",
            likenesses=keys,
        )
        for problem, view, keys in zip(problems, views, alike, strict=True)
    ]
