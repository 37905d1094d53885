"""Prompts with completions as training samples: loss on the completion only. Paper section 4.4 (fine-tuning Codex-S).

In: (prompt text, completion text) pairs. Out: a SampleSource whose loss mask covers exactly the completion's tokens and
(unless told otherwise) the end of document after them.

Two layouts of the same examples:
* left_padded, the paper's: one example a row, shorter prompts padded on the left, so that all completions of a batch
  start in one column; positions restart after the padding, and nothing attends to it;
* packed: as many whole examples as fit into a row, each attending only to itself; the same losses for less padding.

Shapes: B rows x S positions. An example of n tokens takes n - 1 positions: its last token is only ever a label.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.batch import PADDING_DOCUMENT, Batch
from megatron_codex.data.prompted_packing import pack_lengths
from megatron_codex.errors import InputError
from megatron_codex.tokenizer.codex import CodexTokenizer

_logger = logging.getLogger(__name__)

Layout = Literal["left_padded", "packed"]


@dataclass(frozen=True)
class _Example:
    tokens: NDArray[np.int64]
    """Prompt, completion, end of document."""
    prompt_length: int

    @property
    def num_positions(self) -> int:
        return len(self.tokens) - 1


class PromptedDataset:
    """(prompt, completion) pairs as rows of a Batch; too long ones are dropped and counted, never cut."""

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        tokenizer: CodexTokenizer,
        seq_length: int,
        layout: Layout,
        train_end_of_text: bool = True,
    ) -> None:
        """seq_length: the model's positions; an example that needs more is dropped, and so is one whose prompt or
        completion is empty (`counts` says how many). train_end_of_text: the end of document counts in the loss, too.

        Raises: InputError when no example is left.
        """
        self.layout = layout
        self._eod = tokenizer.eod
        self._seq_length = seq_length
        self._train_end_of_text = train_end_of_text
        self.counts = {"pairs": 0, "kept": 0, "too_long": 0, "empty_prompt": 0, "empty_completion": 0}
        """Pairs given, kept, and dropped by reason."""
        self._examples = [example for pair in pairs if (example := self._make(pair, tokenizer))]
        if not self._examples:
            reasons = Counter(self.counts)
            del reasons["kept"]
            raise InputError(
                "prompted examples",
                value=dict(reasons),
                rule=f"none is left that fits {seq_length} positions",
                remedy="raise model.seq_length or check the problems file",
            )
        self._log_counts()
        lengths = [example.num_positions for example in self._examples]
        one_by_one = [[index] for index in range(len(lengths))]
        self._rows = pack_lengths(lengths, capacity=seq_length) if layout == "packed" else one_by_one

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def num_examples(self) -> int:
        """Examples kept, in all rows."""
        return len(self._examples)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N, 2] positions of each left-padded row before the completion's column, and from there on."""
        assert self.layout == "left_padded", "a packed row has no prompt of its own"
        parts = [(each.prompt_length, each.num_positions - each.prompt_length) for each in self._examples]
        return np.array(parts, np.int64)

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Positions that these rows need.

        left_padded: the longest prompt plus the longest completion, which may exceed seq_length where two examples are
        long in different parts (no position id does). packed: always seq_length, so that every row has one shape.
        """
        if self.layout == "packed":
            return self._seq_length
        examples = self._examples_of(indices)
        prompts = max(example.prompt_length for example in examples)
        return prompts + max(example.num_positions - example.prompt_length for example in examples)

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """Rows `indices` in order, [len(indices), seq_length]; positions beyond sequence_length are padding."""
        needed = self.sequence_length(indices)
        assert seq_length >= needed, f"{seq_length} positions for rows that need {needed}"
        shape = (len(indices), seq_length)
        batch = Batch(
            tokens=np.full(shape, self._eod, dtype=np.int64),
            labels=np.full(shape, self._eod, dtype=np.int64),
            loss_mask=np.zeros(shape, dtype=np.float32),
            position_ids=np.zeros(shape, dtype=np.int64),
            document_ids=np.full(shape, PADDING_DOCUMENT, dtype=np.int64),
        )
        completion_column = max(example.prompt_length for example in self._examples_of(indices))
        for row, index in enumerate(indices):
            column = 0
            for document, member in enumerate(self._rows[index]):
                example = self._examples[member]
                if self.layout == "left_padded":
                    column = completion_column - example.prompt_length
                _place(batch, example, row=row, column=column, document=document)
                column += example.num_positions
                if not self._train_end_of_text:
                    batch.loss_mask[row, column - 1] = 0
        return batch

    def fingerprint(self) -> str:
        """SHA-256 of every example, the layout and its width."""
        masked = "" if self._train_end_of_text else " end of text masked"
        digest = hashlib.sha256(f"{self.layout} {self._seq_length} {self._eod}{masked}".encode())
        for example in self._examples:
            digest.update(np.array([example.prompt_length, len(example.tokens)], dtype="<i8").tobytes())
            digest.update(example.tokens.astype("<i8").tobytes())
        return digest.hexdigest()

    def _make(self, pair: tuple[str, str], tokenizer: CodexTokenizer) -> _Example | None:
        """The example of a pair, or None when it is dropped. Prompt and completion are encoded apart: a sampler only
        ever sees the prompt's own tokens."""
        prompt, completion = (tokenizer.encode(text).astype(np.int64) for text in pair)
        example = _Example(np.concatenate([prompt, completion, [tokenizer.eod]]), len(prompt))
        self.counts["pairs"] += 1
        if len(prompt) == 0:
            outcome = "empty_prompt"
        elif len(completion) == 0:
            outcome = "empty_completion"
        elif example.num_positions > self._seq_length:
            outcome = "too_long"
        else:
            outcome = "kept"
        self.counts[outcome] += 1
        return example if outcome == "kept" else None

    def _log_counts(self) -> None:
        dropped = {reason: count for reason, count in self.counts.items() if reason not in ("pairs", "kept") and count}
        level = logging.WARNING if dropped else logging.INFO
        _logger.log(
            level, "%d of %d prompted examples kept, dropped: %s", self.counts["kept"], self.counts["pairs"], dropped
        )

    def _examples_of(self, indices: Sequence[int]) -> list[_Example]:
        return [self._examples[member] for index in indices for member in self._rows[index]]


def _place(batch: Batch, example: _Example, *, row: int, column: int, document: int) -> None:
    """Write one example into a row from `column` on."""
    length = example.num_positions
    span = slice(column, column + length)
    batch.tokens[row, span] = example.tokens[:-1]
    batch.labels[row, span] = example.tokens[1:]
    # The prompt's last position predicts the completion's first token.
    batch.loss_mask[row, column + example.prompt_length - 1 : column + length] = 1
    batch.position_ids[row, span] = np.arange(length)
    assert batch.document_ids is not None
    batch.document_ids[row, span] = document
