"""Reference solutions that lie beside a problem set: Exercism's specifications have none.

In: JSONL of {"task_id", "solution"}, a whole program that defines the problem's function, or is the script. Out: the
problem with it; its prompt takes the solution's own signature and context.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_numbered_jsonl
from megatron_codex.problems.contests.candidate import Candidate
from megatron_codex.problems.function_fields import function_fields
from megatron_codex.problems.functions import NotSplit, tidy_source
from megatron_codex.records import Problem


class References:
    """Solutions by task_id."""

    def __init__(self, path: Path | None) -> None:
        """Raises: InputError for a row of another form or a task_id given twice."""
        self._solutions: dict[str, tuple[str, str]] = {}
        self.unused: set[str] = set()
        for number, row in read_numbered_jsonl(path) if path else ():
            where = f"{path}:{number}"
            for name in ("task_id", "solution"):
                if not isinstance(row.get(name), str):
                    raise InputError(f"{where}: {name}", value=row.get(name), rule="must be a string", remedy="add it")
            if row["task_id"] in self._solutions:
                raise InputError(f"{where}: task_id", value=row["task_id"], rule="is given twice", remedy="delete one")
            self._solutions[row["task_id"]] = (row["solution"], where)
        self.unused = set(self._solutions)

    def add_to(self, candidate: Candidate) -> Candidate:
        """The candidate with a given solution as its reference. Raises: InputError when it does not define it."""
        if candidate.task_id not in self._solutions or not candidate.readings:
            return candidate
        self.unused.discard(candidate.task_id)
        solution, where = self._solutions[candidate.task_id]
        problem = candidate.readings[0]
        try:
            return dataclasses.replace(candidate, readings=(_with_reference(problem, tidy_source(solution)),))
        except NotSplit as error:
            rule = f"does not define {problem.entry_point or 'a script'} ({error})"
            raise InputError(f"{where}: solution", value=solution, rule=rule, remedy="mend it") from error


def _with_reference(problem: Problem, code: str) -> Problem:
    provenance = {**problem.provenance, "reference": "given beside the set"}
    if problem.entry_point:
        fields = function_fields(code, problem.entry_point, problem.docstring)
    else:
        fields = {"canonical_solution": code, "body": code}
    return dataclasses.replace(problem, **fields, provenance=provenance)
