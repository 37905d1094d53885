"""Tables of files: JSON Lines and Parquet in, candidates out. Column names of The Stack and its kin are understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_codex.corpus.candidates import NOT_PYTHON, Candidate
from megatron_codex.corpus.languages import PYTHON, PYTHON_FILES, Selection
from megatron_codex.corpus.line_ranges import WHOLE, line_place, read_rows
from megatron_codex.corpus.members import Container, is_notebook
from megatron_codex.corpus.stored_path import stored_path
from megatron_codex.errors import InputError

CONTENT_KEYS = ("content", "text", "code")
PATH_KEYS = ("path", "max_stars_repo_path", "file_path", "filename")
REPOSITORY_KEYS = ("repository", "repo", "repo_name", "max_stars_repo_name", "repository_name")
LICENCE_KEYS = ("licence", "license", "licenses", "max_stars_repo_licenses", "detected_licenses")
LANGUAGE_KEYS = ("lang", "language")
"""The first key that a row has is taken (The Stack v1 and v2, codeparrot, GitHub's BigQuery export)."""

KNOWN_KEYS = CONTENT_KEYS + PATH_KEYS + REPOSITORY_KEYS + LICENCE_KEYS + LANGUAGE_KEYS + ("blob_id",)

_ROWS_IN_A_BATCH = 64


def read_table(
    path: Path,
    kind: Literal["jsonl", "parquet"],
    *,
    selection: Selection = PYTHON_FILES,
    positions: range = WHOLE,
) -> Iterator[Candidate]:
    """Every row of a table. Its language is told by its path, else by its language column; a row with neither is taken.

    positions: of the lines' first bytes, or of the row groups, that are read.
    Raises: InputError naming the file (and line or row) for a damaged table or a row without text.
    """
    rows = read_rows(path, positions) if kind == "jsonl" else read_parquet(path, row_groups=positions)
    for number, row in rows:
        content = row.get(_first(CONTENT_KEYS, row) or "")
        if not isinstance(content, str):
            where = line_place(path, positions, number) if kind == "jsonl" else f"{path}:{number}"
            raise _no_text(where, row)
        yield _candidate(row, content, str(path), selection)


def _candidate(row: Mapping[str, Any], content: str, source: str, selection: Selection) -> Candidate:
    name, repository, licence = (_text(row, keys) for keys in (PATH_KEYS, REPOSITORY_KEYS, LICENCE_KEYS))
    label = _text(row, LANGUAGE_KEYS)
    if name:
        language = selection.language_of(name)
    else:
        language = selection.named(label) if label else selection.languages[0]
    if language and is_notebook(name):
        container = Container(source=source, repository=repository, licence=licence, selection=selection)
        return container.notebook(name, content)
    return Candidate(
        path=stored_path(name),
        source=source,
        content=content,
        size_bytes=len(content.encode("utf-8", "surrogatepass")),
        repository=repository,
        licence=licence,
        language=language or PYTHON,
        fault="" if language else NOT_PYTHON,
    )


def _no_text(where: str, row: Mapping[str, Any]) -> InputError:
    if row.get("blob_id") is not None:
        rule = "names a blob_id only, as The Stack v2 does: its texts lie in Software Heritage's store"
        return InputError(where, rule=rule, remedy=f"fetch them first, into a column named {CONTENT_KEYS[0]}")
    rule = f"no text under any of {', '.join(CONTENT_KEYS)}"
    return InputError(where, rule=rule, remedy="name the text's field so, or drop the row")


def read_parquet(
    path: Path, columns: Sequence[str] = KNOWN_KEYS, *, row_groups: range = WHOLE
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1 in the file, row with those of the columns that the file has) of some row groups.

    Raises: InputError naming the file when it is not whole Parquet.
    """
    with open_parquet(path) as file:
        first, stop = row_groups.start, min(row_groups.stop, file.metadata.num_row_groups)
        number = sum(file.metadata.row_group(group).num_rows for group in range(first))
        names = [name for name in file.schema_arrow.names if name in columns]
        groups = range(first, stop)
        for batch in file.iter_batches(_ROWS_IN_A_BATCH, row_groups=groups, columns=names, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def parquet_shape(path: Path) -> tuple[int, list[str]]:
    """(number of rows, names of columns). Raises: InputError as read_parquet."""
    with open_parquet(path) as file:
        return file.metadata.num_rows, file.schema_arrow.names


@contextmanager
def open_parquet(path: Path, *, buffer_size: int = 0) -> Iterator[pq.ParquetFile]:
    """The open file. buffer_size: bytes read at a time; 0: each column of a row group at once.

    Raises: InputError naming the file when it is not whole Parquet, inside the block as well.
    """
    try:
        with pq.ParquetFile(path, buffer_size=buffer_size) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        remedy = "it is truncated or of another format: write or download it again"
        raise InputError(str(path), rule=f"not readable as Parquet ({reason})", remedy=remedy) from error


def _first(keys: tuple[str, ...], row: Mapping[str, Any]) -> str | None:
    return next((key for key in keys if row.get(key) is not None), None)


def _text(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    value = row.get(_first(keys, row) or "", "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
