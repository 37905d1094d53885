"""Plain sets of scripts: a folder a problem, with its statement and files of inputs and outputs.

In: FOLDER/statement.md (.txt, or problem, question, README), solution.py or solutions/*.py, and tests in the folder or
below it: NAME.in and NAME.out (.ans, .a), input/NAME and output/NAME, or inputNAME and outputNAME. Out: a Candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected
from megatron_codex.problems.contests.readings import python3_programs, script_readings
from megatron_codex.problems.contests.statement_examples import script_examples
from megatron_codex.problems.contests.statements import docstring_of, text_of

_STATEMENTS = ("statement", "problem", "question", "README", "description")
_TEXTS = (".md", ".txt", ".html", "")
_ANSWERS = (".out", ".ans", ".a", ".expected")
_FOLDERS = {"input": "output", "inputs": "outputs", "in": "out"}


def is_problem_folder(folder: Path) -> bool:
    """Whether a folder has a statement and at least one test."""
    return folder.is_dir() and _statement(folder) is not None and next(_pairs(folder), None) is not None


def candidate_of(folder: Path, limits: Limits) -> Candidate:
    """One problem. task_id: the folder's name. Raises: Rejected."""
    statement = _statement(folder)
    text = _read(statement) if statement else ""
    if not text.strip():
        raise Rejected("usable", "no statement")
    tests = limits.chosen(_examples(folder, limits))
    programs = [*sorted(folder.glob("solution.py")), *sorted(folder.glob("solutions/*.py"))]
    solutions = python3_programs([_read(path) for path in programs], limits)
    extra = script_examples(text_of(text))
    readings = script_readings(
        solutions, docstring_of(text), tests, extra, task_id=folder.name, source=folder.parent.name
    )
    return Candidate(task_id=folder.name, readings=readings)


def _examples(folder: Path, limits: Limits) -> Iterator[Example]:
    for given, wanted in _pairs(folder):
        if given.stat().st_size + wanted.stat().st_size <= limits.max_test_bytes:
            yield {"input": _read(given), "output": _read(wanted)}


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(folder.rglob("*")):
        answers = [path.with_suffix(suffix) for suffix in _ANSWERS] if path.suffix == ".in" else []
        if path.parent.name in _FOLDERS:
            answers.append(path.parent.with_name(_FOLDERS[path.parent.name]) / path.name)
        if path.name.startswith("input") and path.suffix != ".in":
            answers.append(path.with_name("output" + path.name.removeprefix("input")))
        found = next((answer for answer in answers if answer.is_file()), None)
        if found is not None and path.is_file():
            yield path, found


def _statement(folder: Path) -> Path | None:
    names = (f"{name}{suffix}" for name in _STATEMENTS for suffix in _TEXTS)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="surrogateescape").replace("\r\n", "\n")
