"""What a training task reads of problem files: (prompt, completion) of each problem.

In: the task. Out: the reader of files that training takes, which knows no problems itself (training/datasets.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.render import render_d, render_s


def pairs_reader(task: str) -> Callable[[Path], list[tuple[str, str]]]:
    """task: as TrainConfig has it. The reader raises InputError as read_problems and the task's render function do."""
    render = render_d if task == "codex_d" else render_s

    def read_pairs(path: Path) -> list[tuple[str, str]]:
        views = [render(problem) for problem in read_problems(path)]
        return [(view.prompt, view.completion) for view in views]

    return read_pairs
