"""A function that reproduces its recorded calls, as a Problem. Codex paper, section 4.2."""

from __future__ import annotations

import megatron_codex
from megatron_codex.problems.examples import check_source, choose_examples
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.project import Project
from megatron_codex.records import Problem

CREATED_BY = f"trace_ci.py {megatron_codex.__version__}"


def build_problem(function: ExtractedFunction, project: Project, *, max_examples: int) -> Problem:
    """task_id: project-version/module.function. Tests: at most `max_examples` of the recorded calls."""
    traced, parts = function.traced, function.parts
    examples = choose_examples(traced.examples, max_examples)
    return Problem(
        task_id=f"{project.name}/{function.module}.{traced.name}",
        prompt=function.prompt,
        entry_point=traced.name,
        canonical_solution=parts.body,
        test=check_source(examples),
        signature=parts.signature,
        docstring=parts.docstring,
        body=parts.body,
        context=function.context,
        io_examples=tuple(examples),
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
        },
        created_by=CREATED_BY,
    )
