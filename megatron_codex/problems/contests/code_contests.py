"""DeepMind's CodeContests (Li et al. 2022, "Competition-Level Code Generation with AlphaCode").

In: rows with description, public_tests, private_tests and generated_tests (input, output), solutions and
incorrect_solutions (language, solution), time_limit; lists beside each other, as in the dataset, or lists of objects.
Out: Candidates: scripts, whose incorrect solutions in Python 3 are kept for the harvester.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected, text_field
from megatron_codex.problems.contests.readings import is_python3, python3_programs, script_readings
from megatron_codex.problems.contests.statement_examples import script_examples
from megatron_codex.problems.contests.statements import docstring_of, text_of

FIELDS = ("description", "public_tests")
SOURCE, LICENCE = "CodeContests", "CC-BY-4.0"
_TESTS = ("public_tests", "private_tests", "generated_tests")
_PYTHON3 = (3, "PYTHON3", "python3")
_JUDGES = {0: "unknown", 1: "CodeChef", 2: "Codeforces", 3: "HackerEarth", 4: "CodeJam", 5: "AtCoder", 6: "Aizu"}


def candidate_of(row: Mapping[str, Any], limits: Limits, *, where: str) -> Candidate:
    """One problem. Raises: InputError for a row of another form; Rejected."""
    task_id = f"{SOURCE}/{text_field(row, ['name'], where, default=where.rpartition(':')[2])}"
    for name in ("input_file", "output_file"):
        if row.get(name):
            raise Rejected("usable", "reads or writes files", f"{name} {row[name]}")
    description = text_field(row, ["description"], where)
    tests = [
        {"input": _text(test, "input", where), "output": _text(test, "output", where), "compare": "tokens"}
        for name in _TESTS
        for test in _objects(row, name, where)
    ]
    extra = [{**example, "compare": "tokens"} for example in script_examples(text_of(description))]
    chosen = limits.chosen(tests or extra)
    readings = script_readings(
        python3_programs(_programs(row, "solutions", where), limits),
        docstring_of(description),
        chosen,
        extra,
        task_id=task_id,
        source=SOURCE,
        licence=LICENCE,
        provenance=_provenance(row, description),
    )
    wrong = [each for each in _programs(row, "incorrect_solutions", where) if is_python3(each)]
    return Candidate(task_id=task_id, readings=readings, wrong_programs=tuple(wrong[: limits.max_tests]))


def _provenance(row: Mapping[str, Any], description: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("difficulty", "cf_contest_id", "cf_index", "cf_rating") if row.get(name)}
    if isinstance(row.get("source"), int):
        kept["judge"] = _JUDGES.get(row["source"], row["source"])
    if isinstance(row.get("time_limit"), Mapping):
        limit = row["time_limit"]
        kept["time_limit_s"] = float(limit.get("seconds") or 0) + float(limit.get("nanos") or 0) / 1e9
    if "<image>" in description:
        kept["num_images"] = description.count("<image>")
    return kept


def _programs(row: Mapping[str, Any], name: str, where: str) -> list[str]:
    entries = _objects(row, name, where)
    return [_text(each, "solution", where) for each in entries if each.get("language") in _PYTHON3]


def _objects(row: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """A field as a list of objects: {"input": [a, b]} is [{"input": a}, {"input": b}]."""
    value = row.get(name) or []
    if isinstance(value, Mapping) and all(isinstance(column, list) for column in value.values()):
        return list(_transposed(value))
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    rule = "must be an object of lists, or a list of objects"
    raise InputError(f"{where}: {name}", value=value, rule=rule, remedy="mend this row")


def _transposed(columns: Mapping[str, list[Any]]) -> Iterator[Mapping[str, Any]]:
    for values in zip(*columns.values(), strict=False):
        yield dict(zip(columns, values, strict=True))


def _text(entry: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(entry.get(name), str):
        raise InputError(f"{where}: {name}", value=entry.get(name), rule="must be a string", remedy="mend this row")
    return str(entry[name])
