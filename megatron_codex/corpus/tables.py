"""Tables of files: JSON Lines and Parquet in, candidates out. Column names of The Stack and its kin are understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_codex.corpus.candidates import NOT_PYTHON, Candidate
from megatron_codex.corpus.discover import is_python
from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_numbered_jsonl

CONTENT_KEYS = ("content", "text", "code")
PATH_KEYS = ("path", "max_stars_repo_path", "file_path", "filename")
REPOSITORY_KEYS = ("repository", "repo", "repo_name", "max_stars_repo_name", "repository_name")
LICENCE_KEYS = ("licence", "license", "licenses", "max_stars_repo_licenses", "detected_licenses")
"""The first key that a row has is taken (The Stack v1 and v2, codeparrot, GitHub's BigQuery export)."""

KNOWN_KEYS = CONTENT_KEYS + PATH_KEYS + REPOSITORY_KEYS + LICENCE_KEYS

_ROWS_IN_A_BATCH = 64


def read_table(path: Path, kind: Literal["jsonl", "parquet"]) -> Iterator[Candidate]:
    """Every row of a table. A row whose path does not end in .py is not Python; one without a path is taken as such.

    Raises: InputError naming the file (and line) for a damaged table or a row without text.
    """
    rows = read_numbered_jsonl(path) if kind == "jsonl" else read_parquet(path)
    for number, row in rows:
        content = row.get(_first(CONTENT_KEYS, row) or "")
        if not isinstance(content, str):
            rule = f"no text under any of {', '.join(CONTENT_KEYS)}"
            raise InputError(f"{path}:{number}", rule=rule, remedy="name the text's field so, or drop the row")
        name = _text(row, PATH_KEYS)
        yield Candidate(
            path=name,
            source=str(path),
            content=content,
            size_bytes=len(content.encode("utf-8", "surrogatepass")),
            repository=_text(row, REPOSITORY_KEYS),
            licence=_text(row, LICENCE_KEYS),
            fault=NOT_PYTHON if name and not is_python(name) else "",
        )


def read_parquet(path: Path, columns: Sequence[str] = KNOWN_KEYS) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row with those of the columns that the file has).

    Raises: InputError naming the file when it is not whole Parquet.
    """
    number = 0
    with open_parquet(path) as file:
        names = [name for name in file.schema_arrow.names if name in columns]
        for batch in file.iter_batches(_ROWS_IN_A_BATCH, columns=names, use_threads=False):
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
