"""Base training's samples: windows cut from documents laid end to end (Codex paper, section 3.2).

In: prefixes of indexed datasets. The documents of one split follow each other as in the files; sample k is tokens
k * S .. k * S + S of that stream, so windows overlap by one token and every token but the first is a label once.
What is left at the end, fewer than S labels, is not used. Nothing is shuffled here: the loop's order permutes the
windows (order.py), and a split is a few runs of neighbouring documents (splits.py), so a window is one piece of a file,
or two where runs meet. docs/adr/0004-file-order-windows.md has the reasons. Shapes: B samples x S positions.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.batch import PADDING_DOCUMENT, Batch
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.splits import SplitName, split_runs
from megatron_codex.errors import InputError

_RULE = 2
"""Of how documents become samples, for the fingerprint: 1 shuffled the documents of a split before it cut windows."""


class PretrainingDataset:
    """A SampleSource over packed documents. Memory: some megabytes, whatever the number of documents."""

    def __init__(
        self,
        prefixes: Sequence[Path | str | IndexedDataset],
        *,
        split: SplitName,
        splits: Sequence[float],
        seq_length: int,
        seed: int,
        eod: int,
        reset_attention_at_documents: bool = False,
    ) -> None:
        """prefixes: indexed datasets, by prefix or opened before, taken as one. splits: shares of train, valid, test.
        seq_length: S, in tokens.

        eod: the tokenizer's end of document, which fills padding. reset_attention_at_documents: a position sees its
        own document only and positions count from that document's start; otherwise a window is read as one text, as
        GPT does. In both, the loss counts at every position: the token that ends a document predicts the next one's
        first.
        Raises: InputError for a damaged dataset, or one too small for a single sample.
        """
        if not prefixes:
            raise InputError("prefixes", rule="no dataset given", remedy="name at least one PREFIX of .bin and .idx")
        self.seq_length = seq_length
        self.eod = eod
        self.reset_attention_at_documents = reset_attention_at_documents
        self.datasets = [given if isinstance(given, IndexedDataset) else IndexedDataset(given) for given in prefixes]
        self._parameters = {
            "rule": _RULE,
            "split": split,
            "splits": [float(share) for share in splits],
            "seq_length": seq_length,
            "seed": seed,
            "eod": eod,
            "reset_attention_at_documents": reset_attention_at_documents,
        }
        runs = split_runs(sum(map(len, self.datasets)), split=split, splits=splits, seed=seed)
        self.num_documents = int((runs[:, 1] - runs[:, 0]).sum())
        """Documents in the split."""
        self._lay_out(runs)
        self._constants = _constants(0, 0, 0)
        if len(self) < 1:
            rule = f"the {split} split has {self.num_tokens} tokens in {self.num_documents} documents"
            remedy = f"a sample needs seq_length + 1 = {seq_length + 1}: more data, another share or a shorter sequence"
            raise InputError(", ".join(dataset.prefix for dataset in self.datasets), rule=rule, remedy=remedy)

    @property
    def num_tokens(self) -> int:
        """Tokens in the split's documents."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        """Number of samples: every one has seq_length labels of its own."""
        return max(0, self.num_tokens - 1) // self.seq_length

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Tokens a sample needs: all need the same."""
        return self.seq_length

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """Samples [B, S], S = seq_length; beyond the data set's own seq_length they are padded with eod.

        Tokens and labels are views of one array.
        """
        assert seq_length >= self.seq_length, f"samples of {self.seq_length} tokens do not fit {seq_length}"
        used = self.seq_length
        windows = np.empty((len(indices), used + 1), np.int64)
        for row, index in enumerate(indices):
            self._fill(windows[row], index)
        loss_mask, position_ids = self._mask_and_positions(len(indices), seq_length)
        document_ids = None
        if self.reset_attention_at_documents:
            document_ids = np.full((len(indices), seq_length), PADDING_DOCUMENT, np.int64)
            for row, index in enumerate(indices):
                position_ids[row, :used], document_ids[row, :used] = self._positions(index)
        return Batch(
            tokens=_padded(windows[:, :-1], seq_length, self.eod),
            labels=_padded(windows[:, 1:], seq_length, self.eod),
            loss_mask=loss_mask,
            position_ids=position_ids,
            document_ids=document_ids,
        )

    def fingerprint(self) -> str:
        """Hash of the datasets (IndexedDataset.fingerprint) and of every parameter that decides a sample."""
        content = {"datasets": [dataset.fingerprint() for dataset in self.datasets], **self._parameters}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _lay_out(self, runs: NDArray[np.int64]) -> None:
        """Lay the runs of documents, [R, 2] numbered through all datasets, end to end as pieces of their files.

        Piece i ends at position _ends[i] of the stream; position p in it is token p + _shifts[i] of _sources[i].
        """
        self._ends: list[int] = []
        self._shifts: list[int] = []
        self._sources: list[IndexedDataset] = []
        position, before = 0, 0
        for dataset in self.datasets:
            own = np.clip(runs - before, 0, len(dataset))
            before += len(dataset)
            tokens = iter(dataset.first_tokens(own[own[:, 0] < own[:, 1]].ravel().tolist()))
            for first, last in zip(tokens, tokens, strict=True):
                if first == last:
                    continue  # only empty documents
                self._shifts.append(first - position)
                position += last - first
                self._ends.append(position)
                self._sources.append(dataset)

    def _slices(self, index: int) -> Iterator[tuple[IndexedDataset, int, int]]:
        """A sample's seq_length + 1 tokens as slices of files: dataset, first token, the one after the last."""
        assert 0 <= index < len(self), f"sample {index} of {len(self)}"
        position = index * self.seq_length
        stop = position + self.seq_length + 1
        piece = bisect_right(self._ends, position)
        while position < stop:
            end, shift = min(stop, self._ends[piece]), self._shifts[piece]
            yield self._sources[piece], position + shift, end + shift
            position, piece = end, piece + 1

    def _fill(self, window: NDArray[np.int64], index: int) -> None:
        """Write a sample's tokens into `window`, [seq_length + 1]."""
        position = index * self.seq_length
        stop = position + self.seq_length + 1
        piece = bisect_right(self._ends, position)
        if index >= 0 and piece < len(self._ends) and stop <= self._ends[piece]:
            shift = self._shifts[piece]  # nearly always: one slice
            window[:] = self._sources[piece].tokens(position + shift, stop + shift)
            return
        filled = 0
        for dataset, first, last in self._slices(index):
            window[filled : filled + last - first] = dataset.tokens(first, last)
            filled += last - first

    def _positions(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Position and document ids of a sample, [seq_length] each; a document cut by the window counts from 0."""
        starts: list[int] = []
        filled = 0
        for dataset, first, last in self._slices(index):
            starts.append(filled)
            starts += [start - first + filled for start in dataset.starts_between(first, last)]
            filled += last - first
        bounds = np.array([*starts, self.seq_length])  # the last token is a label only, whatever its document
        sizes = bounds[1:] - bounds[:-1]
        document_ids = np.repeat(np.arange(len(sizes)), sizes)
        return np.arange(self.seq_length) - np.repeat(bounds[:-1], sizes), document_ids

    def _mask_and_positions(self, rows: int, seq_length: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Loss mask and positions of a batch: copies of the last one's when that had the same shape."""
        if self._constants[0].shape != (rows, seq_length):
            self._constants = _constants(rows, seq_length, self.seq_length)
        loss_mask, position_ids = self._constants
        return loss_mask.copy(), position_ids.copy()


def _constants(rows: int, seq_length: int, used: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Loss mask and positions, [rows, seq_length]: padding from position `used` on."""
    loss_mask, position_ids = np.zeros((rows, seq_length), np.float32), np.zeros((rows, seq_length), np.int64)
    loss_mask[:, :used], position_ids[:, :used] = 1, np.arange(used)
    return loss_mask, position_ids


def _padded(values: NDArray[np.int64], seq_length: int, filler: int) -> NDArray[np.int64]:
    missing = seq_length - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=filler) if missing else values
