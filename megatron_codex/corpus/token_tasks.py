"""Tokenising in tasks: a range of row groups of a Parquet file, or of bytes of a JSONL file, to one part file.

In: the inputs, in order. Out: tasks in that order, and the part (token_parts.py) of each. What the tasks are depends on
the inputs only, so their parts, joined in order, are the same bytes wherever and whenever they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.corpus.discover import kind_of
from megatron_codex.corpus.line_batches import line_batches
from megatron_codex.corpus.line_ranges import WHOLE, byte_ranges
from megatron_codex.corpus.tables import open_parquet
from megatron_codex.corpus.text_batches import TextBatch, parquet_batches, text_bytes, text_column
from megatron_codex.corpus.token_parts import PartWriter
from megatron_codex.data.indexed import MAX_DOCUMENT_TOKENS
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer

TASK_BYTES = 32_000_000
"""Text in a task, about: what a worker that dies costs. Compressed JSONL, and a row group, is not divided."""


@dataclass(frozen=True, kw_only=True)
class TokenTask:
    """Some documents of one input, and where their tokens go."""

    file: Path
    begin: int
    """First row group of a Parquet file, or first byte of a JSONL file."""
    end: int
    """One past the last; of a compressed JSONL file, more than it can hold."""
    part: Path


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """How every task's documents become tokens."""

    key: str
    """Field or column that holds the text."""
    append_eod: bool
    tokenizer: TokenizerConfig


def plan_tasks(files: Sequence[Path], directory: Path, *, key: str, task_bytes: int) -> list[TokenTask]:
    """The tasks of all files, in order; their parts lie in `directory`. Reads no more than Parquet's footers.

    Raises: InputError for a Parquet file that is damaged or has no text.
    """
    tasks: list[TokenTask] = []
    for file in files:
        ranges = _row_groups(file, key, task_bytes) if kind_of(file.name) == "parquet" else _bytes(file, task_bytes)
        for begin, end in ranges:
            tasks.append(TokenTask(file=file, begin=begin, end=end, part=directory / f"{len(tasks):07}.part"))
    return tasks


def encode_task(task: TokenTask, *, settings: TokenSettings) -> None:
    """Make a task's part. Raises: InputError naming the file, and the row or line, of a document without text."""
    tokenizer = _tokenizer(settings.tokenizer)
    with PartWriter(task.part) as part:
        for batch in _batches(task, settings.key):
            encoded = tokenizer.encode_buffer(
                batch.data, batch.offsets, is_utf8=batch.is_utf8, append_eod=settings.append_eod
            )
            if len(encoded.counts) and int(encoded.counts.max()) > MAX_DOCUMENT_TOKENS:
                rule = f"a document has more than the {MAX_DOCUMENT_TOKENS} tokens that the format can hold"
                raise InputError(str(task.file), rule=rule, remedy="split the document")
            part.add(encoded.ids, encoded.counts, text_bytes=encoded.num_bytes)


def _batches(task: TokenTask, key: str) -> Iterator[TextBatch]:
    positions = range(task.begin, task.end)
    is_parquet = kind_of(task.file.name) == "parquet"
    return parquet_batches(task.file, positions, key) if is_parquet else line_batches(task.file, positions, key)


@lru_cache(maxsize=1)
def _tokenizer(config: TokenizerConfig) -> CodexTokenizer:
    """A process's own, kept from task to task: its cache of pieces is warm."""
    return CodexTokenizer.from_config(config)


def _row_groups(file: Path, key: str, task_bytes: int) -> Iterator[tuple[int, int]]:
    with open_parquet(file) as table:
        column = text_column(file, table, key)
        begin, size = 0, 0
        for number in range(table.metadata.num_row_groups):
            size += text_bytes(table.metadata.row_group(number), column)
            if size >= task_bytes or number == table.metadata.num_row_groups - 1:
                yield begin, number + 1
                begin, size = number + 1, 0


def _bytes(file: Path, task_bytes: int) -> Iterator[tuple[int, int]]:
    if file.suffix != ".jsonl":
        yield WHOLE.start, WHOLE.stop
        return
    yield from byte_ranges(file.stat().st_size, task_bytes)
