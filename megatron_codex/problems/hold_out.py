"""Problems to measure models with: whole families of them, set aside before any model has seen one.

In: problem files. Out: OUTPUT/held_out.jsonl, train.jsonl (which nearly equals none of them), left_out.jsonl (the
others), manifest.json. The rule is that of data/family_split.py, with a draw of its own: what is held out here is not
what `data.validation_share` holds out. No sample decides, as it does in filter_problems.py: a set of what the base
model solves would be too easy a measure.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.problems import HoldOutConfig
from megatron_codex.data.family_split import split_by_family
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory
from megatron_codex.jsonl import write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.families import family_of, likenesses
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A problem with what says where it belongs."""

    problem: Problem
    family: str
    likenesses: Collection[int]


def hold_out(config: HoldOutConfig) -> dict[str, int]:
    """Write the output directory; problems and families of each side.

    Raises: InputError for faulty problems, a task that two files have, a share that leaves one side empty, or an
    output that exists; nothing is written then.
    """
    started_at = time.time()
    problems = _read(config.problems)
    members = [
        _Member(problem=problem, family=family_of(problem), likenesses=alike)
        for problem, alike in zip(problems, likenesses(problems), strict=True)
    ]
    split = split_by_family(members, share=config.share, purpose="evaluation")
    sides = {"train": split.train, "held_out": split.valid, "left_out": split.left_out}
    counts = {f"{name}_problems": len(side) for name, side in sides.items()}
    counts |= {f"{name}_families": len({member.family for member in side}) for name, side in sides.items()}
    with atomic_directory(config.output) as directory:
        for name, side in sides.items():
            write_jsonl(directory / f"{name}.jsonl", (member.problem.to_json() for member in side))
        write_manifest(
            directory,
            command="hold_out.py",
            config=config,
            inputs=list(config.problems),
            counts=counts,
            started_at=started_at,
        )
    return counts


def _read(paths: Sequence[Path]) -> list[Problem]:
    found: dict[str, Problem] = {}
    for path in paths:
        for problem in read_problems(path):
            if problem.task_id in found:
                rule, remedy = "another of the files has this task, too", "name each file once, or rename the task"
                raise InputError(str(path), value=problem.task_id, rule=rule, remedy=remedy)
            found[problem.task_id] = problem
    return list(found.values())
