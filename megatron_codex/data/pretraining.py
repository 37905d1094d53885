"""Base training's samples: windows cut from documents laid end to end (Codex paper, section 3.2).

In: prefixes of indexed datasets. The documents of one split follow each other in a shuffled order; sample k is tokens
k * S .. k * S + S of that stream, so windows overlap by one token and every token but the first is a label once.
What is left at the end, fewer than S labels, is not used. Shapes: B samples x S positions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.batch import PADDING_DOCUMENT, Batch
from megatron_codex.data.indexed import IndexedDataset
from megatron_codex.data.splits import SplitName, split_documents
from megatron_codex.errors import InputError


class PretrainingDataset:
    """A SampleSource over packed documents. Memory: 28 bytes a document of the split."""

    def __init__(
        self,
        prefixes: Sequence[Path | str],
        *,
        split: SplitName,
        splits: Sequence[float],
        seq_length: int,
        seed: int,
        eod: int,
        reset_attention_at_documents: bool = False,
    ) -> None:
        """prefixes: indexed datasets, taken as one. splits: shares of train, valid, test. seq_length: S, in tokens.

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
        self.datasets = [IndexedDataset(prefix) for prefix in prefixes]
        self._parameters = {
            "split": split,
            "splits": [float(share) for share in splits],
            "seq_length": seq_length,
            "seed": seed,
            "eod": eod,
            "reset_attention_at_documents": reset_attention_at_documents,
        }
        # Documents are numbered through all datasets; _first holds each dataset's first number.
        sizes = np.concatenate([dataset.sizes for dataset in self.datasets])
        self._first = np.cumsum([0, *map(len, self.datasets)])
        self._documents = split_documents(len(sizes), split=split, splits=splits, seed=seed)
        # _ends[i]: position in the stream after the split's i-th document.
        self._ends: NDArray[np.int64] = np.cumsum(sizes[self._documents], dtype=np.int64)
        if len(self) < 1:
            rule = f"the {split} split has {self.num_tokens} tokens in {len(self._documents)} documents"
            remedy = f"a sample needs seq_length + 1 = {seq_length + 1}: more data, another share or a shorter sequence"
            raise InputError(", ".join(map(str, prefixes)), rule=rule, remedy=remedy)

    @property
    def num_tokens(self) -> int:
        """Tokens in the split's documents."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def num_documents(self) -> int:
        """Documents in the split."""
        return len(self._documents)

    def __len__(self) -> int:
        """Number of samples: every one has seq_length labels of its own."""
        return max(0, self.num_tokens - 1) // self.seq_length

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Tokens a sample needs: all need the same."""
        return self.seq_length

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """Samples [B, S], S = seq_length; beyond the data set's own seq_length they are padded with eod."""
        assert seq_length >= self.seq_length, f"samples of {self.seq_length} tokens do not fit {seq_length}"
        shape = (len(indices), seq_length)
        tokens, labels = np.full(shape, self.eod, np.int64), np.full(shape, self.eod, np.int64)
        loss_mask, position_ids = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        document_ids = np.full(shape, PADDING_DOCUMENT, np.int64)
        used = slice(0, self.seq_length)
        for row, index in enumerate(indices):
            window, starts = self._window(index)
            tokens[row, used], labels[row, used] = window[:-1], window[1:]
            loss_mask[row, used] = 1
            position_ids[row, used], document_ids[row, used] = self._positions(starts)
        return Batch(
            tokens=tokens,
            labels=labels,
            loss_mask=loss_mask,
            position_ids=position_ids,
            document_ids=document_ids if self.reset_attention_at_documents else None,
        )

    def fingerprint(self) -> str:
        """Hash of the datasets (IndexedDataset.fingerprint) and of every parameter that decides a sample."""
        content = {"datasets": [dataset.fingerprint() for dataset in self.datasets], **self._parameters}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _window(self, index: int) -> tuple[NDArray[np.int64], list[int]]:
        """A sample's seq_length + 1 tokens, and where in them a document starts (a cut one at 0)."""
        assert 0 <= index < len(self), f"sample {index} of {len(self)}"
        position = index * self.seq_length
        window = np.empty(self.seq_length + 1, np.int64)
        starts = []
        filled = 0
        # The first document that ends after the position holds it; empty documents before it end at it at the latest.
        rank = int(np.searchsorted(self._ends, position, side="right"))
        while filled < len(window):
            part = self._rest_of_document(rank, position + filled)[: len(window) - filled]
            if len(part):
                starts.append(filled)
            window[filled : filled + len(part)] = part
            filled += len(part)
            rank += 1
        return window, starts

    def _rest_of_document(self, rank: int, position: int) -> NDArray[np.integer]:
        """Tokens from a position of the stream to the end of the split's document `rank`."""
        document = int(self._documents[rank])
        number = int(np.searchsorted(self._first, document, side="right")) - 1
        dataset, local = self.datasets[number], document - int(self._first[number])
        size = int(dataset.sizes[local])
        return dataset.slice(local, size - (int(self._ends[rank]) - position), size)

    def _positions(self, starts: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Position and document ids, [seq_length] each, of a window whose documents begin at `starts`."""
        position_ids = np.arange(self.seq_length)
        if not self.reset_attention_at_documents:
            return position_ids, np.zeros(self.seq_length, np.int64)
        document_ids = np.searchsorted(starts, position_ids, side="right") - 1
        return position_ids - np.asarray(starts)[document_ids], document_ids
