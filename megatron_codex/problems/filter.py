"""The problems worth training on: free to use, no benchmark's, solved at times, with tests and verdicts that hold.

In: problems, samples of the base model. Out: OUTPUT/problems.jsonl, dropped.jsonl, funnel.json, funnel.svg,
manifest.json, and the results: every sample with its verdict, once a repeat. Memory: the different completions.
Codex paper, section 4.3.
Dropped: "licence" (not among those allowed), "benchmark" (it holds a problem that models are measured with), "no
tests", "no samples", "not judged" (the sandbox failed), "reference fails", "weak tests" (a constant, an argument or
its length passes them), "unstable" (a verdict changed between passing and not), "unsolved" (no sample passes: too hard
or ambiguous), "rarely solved" (fewer than min_passes).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

from megatron_codex.config.problems import FilterConfig
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory, atomic_file
from megatron_codex.jsonl import dump_line, write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.funnel import Funnel, write_funnel
from megatron_codex.problems.funnel_figure import funnel_figure
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.refusals import find_refusals
from megatron_codex.problems.repeated_runs import Attempt, judge_repeatedly
from megatron_codex.problems.samples import read_samples
from megatron_codex.problems.weak_tests import find_weak_tests
from megatron_codex.records import Completion, Problem, Verdict

STAGES = ("problems", "allowed", "sampled", "judged", "reference_passes", "strong", "stable", "solved")


@dataclass(kw_only=True)
class _Candidate:
    """A problem on its way through the funnel. attempts: its different completions."""

    problem: Problem
    reference: Attempt
    attempts: dict[str, Attempt] = field(default_factory=dict)
    samples: list[Completion] = field(default_factory=list)
    refusal: tuple[str, str] = ("", "")
    """Reason and detail, when it may not be used at all."""
    weakness: str = ""
    """The trivial body that passes its tests."""

    @property
    def num_passed(self) -> int:
        """Samples that pass, equal ones counted each."""
        return sum(self.attempts[sample.completion].always_passes for sample in self.samples)


def filter_problems(config: FilterConfig) -> Funnel:
    """Judge everything, write the output directory, return the funnel.

    Raises: InputError, before anything is judged, for faulty input or an output that exists; WorkError when this
    machine cannot isolate programs.
    """
    started_at = time.time()
    _check_paths(config)
    candidates = _read(config)
    with atomic_directory(config.output) as directory:
        with atomic_file(config.results or directory / "results.jsonl") as results:
            _judge(candidates, config, results)
        funnel, kept, dropped = _sort_out(candidates, config)
        write_jsonl(directory / "problems.jsonl", (problem.to_json() for problem in kept))
        write_jsonl(directory / "dropped.jsonl", dropped)
        write_funnel(directory / "funnel.json", funnel.to_json())
        with atomic_file(directory / "funnel.svg", "w") as figure:
            figure.write(funnel_figure(funnel.counts, funnel.to_json()["dropped"], title="Problems"))
        num_samples = sum(len(candidate.samples) for candidate in candidates)
        write_manifest(
            directory,
            command="filter_problems.py",
            config=config,
            inputs=[config.problems, config.samples],
            counts={"samples": num_samples, **funnel.counts},
            started_at=started_at,
        )
    return funnel


def _check_paths(config: FilterConfig) -> None:
    inputs = {path.resolve() for path in (config.problems, config.samples)}
    if config.results and config.results.resolve() in inputs:
        raise InputError("results", value=config.results, rule="is one of the inputs", remedy="name another file")


def _read(config: FilterConfig) -> list[_Candidate]:
    problems = {problem.task_id: problem for problem in read_problems(config.problems)}
    candidates = {
        task_id: _Candidate(problem=problem, reference=Attempt(problem=problem, completion=problem.canonical_solution))
        for task_id, problem in problems.items()
    }
    for sample in read_samples(config.samples, problems, own_prompts=True):
        candidate = candidates[sample.task_id]
        candidate.samples.append(sample)
        if sample.completion not in candidate.attempts:
            attempt = Attempt(problem=candidate.problem, completion=sample.completion)
            candidate.attempts[sample.completion] = attempt
    refusals = find_refusals(list(problems.values()), config)
    for task_id, refusal in refusals.items():
        candidates[task_id].refusal = refusal
    return list(candidates.values())


def _judge(candidates: Sequence[_Candidate], config: FilterConfig, results: IO[bytes]) -> None:
    """References first; samples of problems whose reference fails tell nothing and are not run."""
    judgeable = [each for each in candidates if not each.refusal[0] and each.samples and each.problem.has_tests]
    judge_repeatedly([each.reference for each in judgeable], config, description="references")
    judgeable = [each for each in judgeable if each.reference.always_passes]
    weak = find_weak_tests([each.problem for each in judgeable], config) if config.drop_weak_tests else {}
    for candidate in judgeable:
        candidate.weakness = weak.get(candidate.problem.task_id, "")
    rows: list[list[Completion]] = []
    attempts: list[Attempt] = []
    for candidate in judgeable:
        if not candidate.weakness:
            for completion, attempt in candidate.attempts.items():
                attempts.append(attempt)
                rows.append([sample for sample in candidate.samples if sample.completion == completion])

    def write_rows(index: int, repeat: int, verdict: Verdict) -> None:
        for sample in rows[index]:
            row = {**sample.to_json(), "passed": verdict.passed, **verdict.to_json(), "repeat": repeat}
            results.write(dump_line(row))
        results.flush()

    judge_repeatedly(attempts, config, description="samples", on_verdict=write_rows)


def _sort_out(
    candidates: Sequence[_Candidate], config: FilterConfig
) -> tuple[Funnel, list[Problem], list[dict[str, Any]]]:
    funnel, kept, dropped = Funnel(STAGES), [], []
    for candidate in candidates:
        stage, reason, detail = _fault_of(candidate, min_passes=config.min_passes)
        for passed in STAGES[: STAGES.index(stage)] if reason else STAGES:
            funnel.reach(passed)
        if reason:
            funnel.drop(stage, reason)
            row = {"task_id": candidate.problem.task_id, "stage": stage, "reason": reason, "detail": detail}
            dropped.append({**row, "num_samples": len(candidate.samples)})
            continue
        numbers = {"num_samples": len(candidate.samples), "num_passed": candidate.num_passed}
        provenance = {**candidate.problem.provenance, "filter": {**numbers, "repeats": config.repeats}}
        kept.append(replace(candidate.problem, provenance=provenance))
    return funnel, kept, dropped


def _fault_of(candidate: _Candidate, *, min_passes: int) -> tuple[str, str, str]:
    """(stage not reached, reason, detail); the reason is "" for a problem to keep."""
    reference, attempts = candidate.reference, list(candidate.attempts.values())
    if candidate.refusal[0]:
        return "allowed", *candidate.refusal
    if not candidate.problem.has_tests:
        return "sampled", "no tests", ""
    if not candidate.samples:
        return "sampled", "no samples", ""
    for attempt in (reference, *attempts):
        if not attempt.was_judged:
            return "judged", "not judged", attempt.last_fault
    if not reference.always_passes:
        if reference.is_stable:
            return "reference_passes", "reference fails", reference.last_fault
        return "reference_passes", "unstable", f"the reference solution: {reference.last_fault}"
    if candidate.weakness:
        return "strong", "weak tests", f"{candidate.weakness} passes"
    for attempt in attempts:
        if not attempt.is_stable:
            return "stable", "unstable", f"a sample: {attempt.last_fault}"
    if not candidate.num_passed:
        return "solved", "unsolved", attempts[0].last_fault
    if candidate.num_passed < min_passes:
        return "solved", "rarely solved", f"{candidate.num_passed} of {len(candidate.samples)} samples pass"
    return "", "", ""
