"""Small indexed datasets for tests, written by us and by megatron-core; and the slow way to a split's documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.indexed import IndexedDatasetWriter
from megatron_codex.data.splits import SplitName, split_runs
from tests.megatron_files import MegatronDatasetBuilder


def write(prefix: Path, documents: Sequence[Any], dtype: type[np.integer] = np.uint16) -> Path:
    """A dataset of these documents, one sequence each; its prefix."""
    with IndexedDatasetWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add_document(np.array(document, dtype))
        writer.finalize()
    return prefix


def write_sequences(
    prefix: Path,
    documents: Sequence[tuple[Sequence[int], Sequence[int]]],
    dtype: type[np.integer] = np.int32,
    *,
    modes: Sequence[Sequence[int]] | None = None,
) -> Path:
    """A dataset by megatron-core of (tokens, lengths of their sequences), with each sequence's mode if any."""
    builder = MegatronDatasetBuilder(f"{prefix}.bin", dtype=dtype, multimodal=modes is not None)
    for number, (tokens, lengths) in enumerate(documents):
        # Modes are not looked at by a builder without them.
        builder.add_document(np.array(tokens, dtype), list(lengths), None if modes is None else list(modes[number]))
    builder.finalize(f"{prefix}.idx")
    return prefix


def split_documents(num_documents: int, *, split: SplitName, splits: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Indices of one split's documents, ascending: what split_runs covers."""
    runs = split_runs(num_documents, split=split, splits=splits, seed=seed)
    return np.concatenate([np.arange(first, last) for first, last in [(0, 0), *runs.tolist()]])
