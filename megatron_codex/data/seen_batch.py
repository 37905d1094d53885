"""A batch as the model sees it, and its examples as the data says they are: what batch_checks.py compares.

In: the arrays that enter the model, the attention mask among them. Out: the spans of positions that see each other.
Nothing here asks the data set how it placed its examples: a fault of its own would then look right.
Shapes: B rows x S positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megatron_codex.tokenizer.codex import CodexTokenizer


@dataclass(frozen=True, kw_only=True)
class SeenBatch:
    """What enters the model, on the CPU."""

    tokens: NDArray[np.int64]
    """[B, S]"""
    labels: NDArray[np.int64]
    """[B, S]"""
    trained: NDArray[np.bool_]
    """[B, S] where the label counts in the loss."""
    position_ids: NDArray[np.int64]
    """[B, S]"""
    first_seen: NDArray[np.int64]
    """[B, S] the first position that each attends to."""
    sees_a_span: NDArray[np.bool_]
    """[B, S] whether it attends to every position from first_seen to itself, and to no other."""

    @classmethod
    def of(
        cls,
        *,
        tokens: NDArray[np.int64],
        labels: NDArray[np.int64],
        loss_mask: NDArray[np.float32],
        position_ids: NDArray[np.int64],
        hidden: NDArray[np.bool_] | None,
    ) -> SeenBatch:
        """hidden: [B, S, S], True where a query does not see a key; None: plainly causal."""
        columns = np.arange(tokens.shape[1])
        first_seen = np.zeros_like(tokens)
        sees_a_span = np.ones(tokens.shape, np.bool_)
        if hidden is not None:
            for row, seen in enumerate(~hidden):
                first_seen[row] = seen.argmax(axis=1)
                span = (columns >= first_seen[row][:, None]) & (columns <= columns[:, None])
                sees_a_span[row] = (seen == span).all(axis=1)
        return cls(
            tokens=tokens,
            labels=labels,
            trained=loss_mask != 0,
            position_ids=position_ids,
            first_seen=first_seen,
            sees_a_span=sees_a_span,
        )

    def spans(self, *, padding: int) -> Iterator[Span]:
        """Runs of positions that see back to the same one, row by row; padding: the token that fills up rows."""
        for row, first_seen in enumerate(self.first_seen):
            starts = np.flatnonzero(np.diff(first_seen, prepend=-1))
            for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(first_seen)], strict=True):
                alone = stop - start == 1 and first_seen[start] == start and self.tokens[row, start] == padding
                yield Span(row=row, start=start, stop=stop, is_padding=alone and not self.trained[row, start])


@dataclass(frozen=True, kw_only=True)
class Span:
    """Positions start..stop of a row, the stop left out, that attend back to the same position."""

    row: int
    start: int
    stop: int
    is_padding: bool
    """A position by itself that holds the filling token and is not trained on."""

    @property
    def columns(self) -> slice:
        return slice(self.start, self.stop)

    def __str__(self) -> str:
        return f"row {self.row}, positions {self.start} to {self.stop - 1}"


class ExpectedExamples:
    """The examples of the data, made into tokens here: prompt and completion apart, the end of document after them."""

    def __init__(self, pairs: Iterable[tuple[str, str]], tokenizer: CodexTokenizer) -> None:
        """pairs: (prompt, completion)."""
        self._prompt_lengths: dict[bytes, set[int]] = defaultdict(set)
        self._starts: dict[bytes, list[NDArray[np.int64]]] = defaultdict(list)
        for texts in pairs:
            prompt, completion = (tokenizer.encode(text).astype(np.int64) for text in texts)
            tokens = np.concatenate([prompt, completion, [tokenizer.eod]])
            self._prompt_lengths[tokens[:-1].tobytes()].add(len(prompt))
            self._starts[tokens[:_START_TOKENS].tobytes()].append(tokens)

    def prompt_lengths(self, tokens: NDArray[np.int64]) -> set[int]:
        """Of the examples that have these tokens, the end of document left out; empty when none has."""
        return self._prompt_lengths.get(tokens.tobytes(), set())

    def nearest(self, tokens: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The example, its end of document included, with which these tokens agree longest from their start."""
        alike = self._starts.get(tokens[:_START_TOKENS].tobytes(), [])
        return max(alike, key=lambda example: common_length(example, tokens), default=None)


_START_TOKENS = 4


def common_length(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Tokens from the start in which the two agree."""
    length = min(len(first), len(second))
    differs = np.flatnonzero(first[:length] != second[:length])
    return int(differs[0]) if len(differs) else length
