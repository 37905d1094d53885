"""The round trip as a stage: problems file in, a directory of grades out (evaluation/round_trip.py is the method).

In: a GradeDocstringsConfig and the two samplers, which the command makes (this room imports no torch). Out:
round_trip.json, docstrings.jsonl, programs.jsonl and manifest.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from megatron_codex.config.sampling import GradeDocstringsConfig
from megatron_codex.errors import InputError
from megatron_codex.evaluation.bleu import DESCRIPTION, require_nltk, sentence_bleu
from megatron_codex.evaluation.round_trip import Sample, grade_docstrings
from megatron_codex.files import atomic_directory, atomic_file
from megatron_codex.jsonl import write_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


def run_round_trip(config: GradeDocstringsConfig, *, write_docstrings: Sample, write_code: Sample) -> dict[str, Any]:
    """Grade, write config.output and return the summary.

    Raises: InputError for problems without signature, docstring, body or tests, or a missing nltk; WorkError when this
    machine cannot isolate programs.
    """
    started_at = time.time()
    if config.bleu:
        require_nltk()
    problems = read_problems(config.problems)
    for problem in problems:
        _require_parts(problem)
    with (
        atomic_directory(config.output) as directory,
        JudgePool(config.judge_workers, timeout_s=config.timeout_s, allow_level_b=config.allow_level_b) as pool,
    ):
        result = grade_docstrings(
            problems,
            write_docstrings=write_docstrings,
            write_code=write_code,
            judge=lambda pairs: judge_pairs(pool, pairs),
            bleu=sentence_bleu if config.bleu else None,
            seed=config.seed,
        )
        summary = {**result.summary, "isolation": pool.isolation}
        if config.bleu:
            summary["bleu_kind"] = DESCRIPTION
        write_jsonl(directory / "docstrings.jsonl", result.docstrings)
        write_jsonl(directory / "programs.jsonl", result.programs)
        with atomic_file(directory / "round_trip.json", "w") as handle:
            json.dump(summary, handle, indent=2)
        write_manifest(
            directory,
            command="grade_docstrings.py",
            config=config,
            inputs=[config.problems],
            counts={"problems": len(problems), "docstrings": len(result.docstrings), "programs": len(result.programs)},
            started_at=started_at,
        )
    return summary


def judge_pairs(pool: JudgePool, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """The verdict of each (problem, completion), in order; equal pairs are judged once."""
    programs: dict[tuple[str, str], Program] = {}
    for problem, completion in pairs:
        programs.setdefault((problem.task_id, completion), Program.of(problem, completion))
    judged = progress(pool.judge(programs.values()), total=len(programs), description="judging", unit="programs")
    by_number = dict(judged)
    verdicts = {key: by_number[number] for number, key in enumerate(programs)}
    return [verdicts[problem.task_id, completion] for problem, completion in pairs]


def _require_parts(problem: Problem) -> None:
    """Refuse, before any sampling, a problem that one of the prompts or the judge could not be made of."""
    for name in ("signature", "docstring", "body"):
        if not getattr(problem, name).strip():
            remedy = "leave this problem out: the round trip starts from its parts"
            raise InputError(f"{problem.task_id}: {name}", value="", rule="is empty", remedy=remedy)
    if not problem.has_tests:
        raise InputError(problem.task_id, rule="the problem has no tests", remedy="give it a test or examples")
