"""A function that reproduces its recorded calls, as a Problem. Codex paper, section 4.2."""

from __future__ import annotations

from collections.abc import Sequence

import megatron_codex
from megatron_codex.problems.assertions import Example, check_source
from megatron_codex.problems.examples import is_data
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.project import Project
from megatron_codex.problems.strength import Report
from megatron_codex.records import Problem

CREATED_BY = f"trace_ci.py {megatron_codex.__version__}"


def build_problem(function: ExtractedFunction, project: Project, strength: Report) -> Problem:
    """task_id: project-version/module.function. Tests: the function's examples, chosen before.

    strength: of these tests (strength.Strength.report), for the provenance.
    """
    traced, parts = function.traced, function.parts
    return Problem(
        task_id=f"{project.name}/{function.module}.{function.entry_point}",
        prompt=function.prompt,
        entry_point=function.entry_point,
        canonical_solution=parts.body,
        test=test_source(function, function.examples),
        signature=parts.signature,
        docstring=parts.docstring,
        body=parts.body,
        context=function.context,
        io_examples=tuple(filter(is_data, function.examples)),
        source=project.source,
        licence=project.metadata.licence,
        provenance={
            "project": project.metadata.name,
            "version": project.metadata.version,
            "sha256": project.sha256,
            "file": traced.file,
            "line": traced.line,
            "num_calls": traced.num_calls,
            "num_pairs": len(traced.examples),
            "kind": function.kind,
            "tests": {"chosen": len(function.examples), **strength},
            "docstring": "written" if parts.docstring else "missing",
        },
        created_by=CREATED_BY,
    )


def test_source(function: ExtractedFunction, examples: Sequence[Example]) -> str:
    """check(candidate), after what it needs of the project's own tests."""
    return function.test_context + check_source(examples)
