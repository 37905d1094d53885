"""From a project's trace to its Problems: extract, replay, choose tests, build; what falls out has a reason.

In: a Project and its Trace. Out: the problems of an Outcome, its funnel and dropped functions. Codex paper, sections
4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.choose_tests import choose_tests
from megatron_codex.problems.ci_problem import build_problem
from megatron_codex.problems.context import ContextLimits, NotExtractedError
from megatron_codex.problems.duplicates import merge_duplicates
from megatron_codex.problems.examples import is_testable, num_outcomes
from megatron_codex.problems.extract import MIN_EXAMPLES, ExtractedFunction, extract_function
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.iterators import with_items
from megatron_codex.problems.modules import ProjectModules
from megatron_codex.problems.project import Project
from megatron_codex.problems.replay import OpenPool, find_unstable, replay_functions
from megatron_codex.problems.strength import Report, measure_strengths
from megatron_codex.problems.traces import Trace, TracedFunction
from megatron_codex.problems.tracing.origins import PROJECT
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool

STAGES = ("called", "capturable", "extractable", "replayable", "deterministic", "problems")
_NOT_TAKEN = ("nested", "coroutine", "property", "builtin")


class Outcome(Protocol):
    """What came of one project (ci_project.ProjectOutcome)."""

    funnel: Funnel
    problems: list[Problem]

    def drop(self, function: TracedFunction | str, stage: str, reason: str, detail: str = "") -> None:
        """Note why a function (or, by task_id, a problem) did not reach a stage."""


def make_problems(outcome: Outcome, project: Project, trace: Trace, config: TraceConfig) -> None:
    """All stages after the tracing. Raises: WorkError when this machine cannot isolate programs."""

    def open_pool() -> JudgePool:
        return JudgePool(config.replay_workers, timeout_s=config.replay_timeout_s)

    functions = _extract(outcome, _capturable(outcome, trace.functions), project, config)
    replayed = _replay(outcome, with_items(functions, num_workers=config.replay_workers), open_pool)
    strong = _choose_tests(outcome, replayed, config)
    unstable = find_unstable([function for function, _, _ in strong], open_pool, num_repeats=config.num_replays - 1)
    problems = []
    for index, (function, strength, passing) in enumerate(strong):
        if index in unstable:
            outcome.drop(function.traced, "deterministic", _fault_reason(unstable[index], "varies"), unstable[index])
            continue
        outcome.funnel.reach("deterministic")
        if not function.parts.docstring and not config.keep_without_docstring:
            outcome.drop(function.traced, "problems", "no docstring")
        elif num_outcomes(function.examples) < config.min_outcomes:
            outcome.drop(function.traced, "problems", "too few different outcomes")
        elif strength["mutation_score"] < config.min_mutation_score:
            outcome.drop(function.traced, "problems", "weak tests", f"mutation score {strength['mutation_score']}")
        elif passing:
            outcome.drop(function.traced, "problems", "weak tests", f"{passing[0]} passes")
        else:
            problems.append(build_problem(function, project, strength))
    kept, merged = merge_duplicates(problems, open_pool)
    for each in merged:
        outcome.drop(each.problem.task_id, "problems", each.reason, each.kept)
    outcome.problems += kept
    outcome.funnel.reach("problems", len(kept))


def _capturable(outcome: Outcome, functions: Sequence[TracedFunction]) -> list[TracedFunction]:
    kept = []
    for function in functions:
        outcome.funnel.reach("called")
        testable = [example for example in function.examples if is_testable(example)]
        # The text of an exception is no part of what a docstring asks for.
        function.examples = [{key: example[key] for key in example if key != "message"} for example in testable]
        if refused := _refused(function):
            outcome.drop(function, "capturable", refused)
        elif function.contradicts_itself:
            outcome.drop(function, "capturable", "equal arguments, different results")
        elif len(function.examples) >= MIN_EXAMPLES:
            outcome.funnel.reach("capturable")
            kept.append(function)
        elif function.not_plain:
            where, kind = next(iter(sorted(function.not_plain.items())))
            outcome.drop(function, "capturable", f"{where} not plain", kind)
        else:
            outcome.drop(function, "capturable", "too few different calls", str(len(function.examples)))
    return kept


def _refused(function: TracedFunction) -> str:
    """Why a function is not taken, whatever it was called with; "" for one that may be."""
    if function.origin != PROJECT:
        return "of a library"
    return {"coroutine": "async"}.get(function.kind, function.kind) if function.kind in _NOT_TAKEN else ""


def _extract(
    outcome: Outcome, functions: Sequence[TracedFunction], project: Project, config: TraceConfig
) -> list[ExtractedFunction]:
    modules, kept = ProjectModules(project.root, project.import_roots), []
    limits = ContextLimits(max_lines=config.max_context_lines, third_party=config.third_party)
    for function in functions:
        try:
            extracted = extract_function(function, modules, limits, max_body_lines=config.max_body_lines)
        except NotExtractedError as error:
            outcome.drop(function, "extractable", error.reason, error.detail)
        else:
            outcome.funnel.reach("extractable")
            kept.append(extracted)
    return kept


def _replay(outcome: Outcome, functions: Sequence[ExtractedFunction], open_pool: OpenPool) -> list[ExtractedFunction]:
    kept = []
    for function, result in zip(functions, replay_functions(functions, open_pool), strict=True):
        if len(result.examples) < MIN_EXAMPLES:
            outcome.drop(function.traced, "replayable", _fault_reason(result.fault, "not reproduced"), result.fault)
            continue
        outcome.funnel.reach("replayable")
        kept.append(replace(function, examples=result.examples))
    return kept


def _choose_tests(
    outcome: Outcome, functions: Sequence[ExtractedFunction], config: TraceConfig
) -> list[tuple[ExtractedFunction, Report, list[str]]]:
    """The functions with the examples that become their tests, how strong these are, which trivial bodies pass them."""
    num_workers = config.replay_workers
    strengths = measure_strengths(functions, num_mutants=config.num_mutants, num_workers=num_workers)
    kept = []
    for function, strength in zip(functions, strengths, strict=True):
        pure = [place for place, reads in enumerate(strength.reads) if not reads]
        if len(pure) < MIN_EXAMPLES:
            reads = sorted(set().union(*strength.reads))
            outcome.drop(function.traced, "deterministic", f"reads {reads[0]}", ", ".join(reads))
            continue
        strength = strength.of(pure)
        examples = [function.examples[place] for place in pure]
        chosen = choose_tests(examples, strength, config.max_examples)
        report = strength.report(chosen, range(min(config.max_examples, len(examples))))
        tested = replace(function, examples=[examples[place] for place in chosen])
        kept.append((tested, report, strength.passed_by(chosen)))
    return kept


def _fault_reason(fault: str, reason: str) -> str:
    """A fault of the sandbox, and a limit of time, are told apart from a wrong result."""
    return {"infra": "sandbox failed", "timeout": "slow"}.get(fault.partition(":")[0], reason)
