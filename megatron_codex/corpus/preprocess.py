"""Shards or JSON Lines to token files: each document's ids, then the end of document, one after the other.

In: Parquet shards or JSONL. Out: PREFIX.bin, PREFIX.idx (megatron_codex/data/indexed.py), PREFIX.manifest.json. The
order is the input's, so the bytes do not depend on the number of workers. Memory: a few MB of text a worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from megatron_codex.config.corpus import PreprocessConfig
from megatron_codex.corpus.discover import kind_of
from megatron_codex.corpus.tables import parquet_shape, read_parquet
from megatron_codex.corpus.workers import map_in_order
from megatron_codex.data.indexed import IndexedDatasetWriter, bin_path, idx_path
from megatron_codex.errors import InputError
from megatron_codex.files import require_absent, require_file
from megatron_codex.jsonl import read_numbered_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import write_manifest
from megatron_codex.tokenizer.codex import CodexTokenizer

_BATCH_CHARS = 1_000_000
_SHARD_TEXT = "content"


@dataclass(frozen=True, kw_only=True)
class PreprocessSummary:
    """What was written."""

    num_documents: int
    num_empty: int
    """Documents without a token, which were left out."""
    num_tokens: int
    """End-of-document tokens included."""
    text_bytes: int
    dtype: str
    seconds: float


def preprocess_data(config: PreprocessConfig) -> PreprocessSummary:
    """Tokenise the inputs into config.output_prefix's three files, whole or not at all.

    Raises: InputError for a missing or damaged input, a row without text, or an output that exists.
    """
    started_at = time.time()
    prefix = config.output_prefix
    manifest = Path(f"{prefix}.manifest.json")
    for path in (bin_path(prefix), idx_path(prefix), manifest):
        require_absent(path)
    files = find_files(config.input)
    tokenizer = CodexTokenizer.from_config(config.tokenizer)
    documents = (text for file in files for text in _texts(file, config.json_key))
    bar = progress(documents, total=_count_rows(files), description="tokenise", unit="documents")
    encode = partial(tokenizer.encode_documents, append_eod=config.append_eod)
    num_empty = text_bytes = 0
    run = map_in_order(encode, _batches(bar), num_workers=config.num_workers)
    with closing(run) as batches, IndexedDatasetWriter(prefix, tokenizer.dtype) as writer:
        for batch in batches:
            text_bytes += batch.num_bytes
            num_empty += int((batch.counts == 0).sum())  # an empty document would be an end of nothing
            ends = np.cumsum(batch.counts)
            for size, end in zip(batch.counts.tolist(), ends.tolist(), strict=True):
                if size:
                    writer.add_document(batch.ids[end - size : end])
        writer.finalize()
    summary = PreprocessSummary(
        num_documents=len(writer),
        num_empty=num_empty,
        num_tokens=writer.num_tokens,
        text_bytes=text_bytes,
        dtype=writer.dtype.name,
        seconds=time.time() - started_at,
    )
    write_manifest(
        manifest.parent,
        name=manifest.name,
        command="preprocess_data",
        config=config,
        inputs=files,
        counts={"documents": summary.num_documents, "empty": num_empty, "tokens": summary.num_tokens},
        started_at=started_at,
        extra={
            "dtype": summary.dtype,
            "eod": tokenizer.eod,
            "vocab_size": tokenizer.vocab_size,
            "encoder": tokenizer.encoder_name,
        },
    )
    return summary


def find_files(inputs: Sequence[Path]) -> list[Path]:
    """The Parquet and JSONL files named, or directly inside the directories named, in order.

    Raises: InputError for an input that is missing, empty, or neither.
    """
    files: list[Path] = []
    for path in inputs:
        found = sorted(item for item in path.iterdir() if _is_table(item)) if path.is_dir() else [path]
        for file in found:
            require_file(file, "documents to tokenise")
        if not found or not all(map(_is_table, found)):
            rule = "holds no documents (.parquet, .jsonl, .jsonl.gz, .jsonl.zst)"
            raise InputError(str(path), rule=rule, remedy="name the output of tools/build_corpus.py, or JSON Lines")
        files += found
    return files


def _is_table(path: Path) -> bool:
    return kind_of(path.name) in ("parquet", "jsonl")


def _texts(file: Path, key: str) -> Iterator[str]:
    if kind_of(file.name) == "parquet":
        _, columns = parquet_shape(file)
        key = key if key in columns else _SHARD_TEXT
        rows = read_parquet(file, columns)
    else:
        rows = read_numbered_jsonl(file)
    for number, row in rows:
        text = row.get(key)
        if not isinstance(text, str):
            found = f"{key!r} holds no text" if key in row else f"has the fields {', '.join(row) or 'none'}"
            remedy = "name the field that holds the text with --json-key"
            raise InputError(f"{file}:{number}", rule=f"needs a text under {key!r}; {found}", remedy=remedy)
        yield text


def _count_rows(files: Sequence[Path]) -> int | None:
    """Documents in all files; None when it would take reading them."""
    if all(kind_of(file.name) == "parquet" for file in files):
        return sum(parquet_shape(file)[0] for file in files)
    return None


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of about a million characters: enough for a process's time, little for memory."""
    batch: list[str] = []
    num_chars = 0
    for text in texts:
        batch.append(text)
        num_chars += len(text)
        if num_chars >= _BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch
