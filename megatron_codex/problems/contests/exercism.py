"""Exercism's problem specifications (MIT) as functions to write; references come from a file beside them, if at all.

In: an exercise's description and canonical-data.json. Out: a Candidate for each of its properties, without a solution:
the specifications have none (references.py adds given ones).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected
from megatron_codex.problems.contests.exercism_archive import CASES, DEPRECATED, STATEMENT_FILES
from megatron_codex.problems.contests.exercism_cases import RAISED, Case, cases_by_property, examples_of
from megatron_codex.problems.contests.readings import function_readings
from megatron_codex.problems.contests.signatures import python_name
from megatron_codex.problems.contests.statements import docstring_of
from megatron_codex.problems.contests.values import form_source
from megatron_codex.records import Problem

SOURCE, LICENCE = "Exercism", "MIT"
_NUM_SHOWN = 2
_MAX_SHOWN_CHARS = 200


def candidates_of(slug: str, files: Mapping[str, str], limits: Limits, *, where: str) -> Iterator[Candidate]:
    """One for each property of an exercise; one in all where the exercise cannot be used. Raises: InputError."""
    try:
        if CASES not in files:
            raise Rejected("tested", "no tests", f"no {CASES}")
        if DEPRECATED in files:
            raise Rejected("usable", "deprecated", "by Exercism")
        statement = "\n\n".join(files[name] for name in STATEMENT_FILES if name in files)
        properties = cases_by_property(_data(files[CASES], where), where=where)
    except Rejected as why:
        yield Candidate.rejected(f"{SOURCE}/{slug}", why)
        return
    for name, cases in properties.items():
        task_id = f"{SOURCE}/{slug}/{python_name(name).strip('_')}"
        try:
            readings = _readings(task_id, name, docstring_of(_without_titles(statement)), cases, limits)
        except Rejected as why:
            yield Candidate.rejected(task_id, why)
        else:
            yield Candidate(task_id=task_id, readings=readings)


def _readings(task_id: str, name: str, statement: str, cases: Sequence[Case], limits: Limits) -> tuple[Problem, ...]:
    entry_point = python_name(name)
    if entry_point.endswith("_"):  # a builtin's name, which the body may need
        entry_point = f"{python_name(task_id.split('/')[1])}_{entry_point.strip('_')}"
    examples = limits.chosen(examples_of(cases))
    docstring = "\n\n".join([statement, *_shown(entry_point, examples)])
    provenance = {"property": name, "num_cases": len(cases)}
    fields: dict[str, Any] = {"task_id": task_id, "source": SOURCE, "licence": LICENCE, "provenance": provenance}
    return function_readings([], entry_point, docstring, [examples], **fields)


def _shown(entry_point: str, examples: Sequence[Example]) -> Iterator[str]:
    """What the description leaves open: how arguments look, and what is raised."""
    if any("raises" in example for example in examples):
        yield f"Raises {RAISED} where the input is not valid."
    shown = []
    for example in examples:
        if "output" in example:
            given = ", ".join(f"{name}={form_source(form)}" for name, form in example["kwargs"].items())
            text = f">>> {entry_point}({given})\n{form_source(example['output'])}"
            if len(text) <= _MAX_SHOWN_CHARS:
                shown.append(text)
    if shown:
        yield "\n".join(shown[:_NUM_SHOWN])


def _without_titles(statement: str) -> str:
    """Without the headings that each file of an exercise begins with."""
    titles = ("# Introduction", "# Instructions", "# Description")
    return "\n".join(line for line in statement.split("\n") if line.strip() not in titles)


def _data(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(where, rule=f"not valid JSON ({error})", remedy="mend this file") from error
