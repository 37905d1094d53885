"""What the training loop takes from data: the Batch, and the SampleSource that makes it.

Shapes: B samples x S positions. A source knows nothing of ranks: the loop says which sample indices it wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PADDING_DOCUMENT = -1
"""The document id of a position that is padding: it attends to nothing and nothing attends to it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of S positions, as the model reads them: `labels[b, s]` is the token that follows `tokens[b, s]`.

    A source may keep its arrays and share memory between them: who changes one makes a copy.
    """

    tokens: NDArray[np.int64]
    """[B, S] token ids."""
    labels: NDArray[np.int64]
    """[B, S] the token after each position: already shifted."""
    loss_mask: NDArray[np.float32]
    """[B, S] 1 where the label counts in the loss, else 0."""
    position_ids: NDArray[np.int64]
    """[B, S] index into the learned positions."""
    document_ids: NDArray[np.int64] | None = None
    """[B, S] attention stays within equal ids, -1 is padding; None: a row is one document, plainly causal."""

    def __post_init__(self) -> None:
        shape = self.tokens.shape
        # A loop over names costs as much as filling a small batch: it only names what is wrong.
        alike = self.labels.shape == self.loss_mask.shape == self.position_ids.shape == shape
        if alike and len(shape) == 2 and (self.document_ids is None or self.document_ids.shape == shape):
            return
        assert len(shape) == 2, f"tokens must be [B, S], not {shape}"
        for name in ("labels", "loss_mask", "position_ids", "document_ids"):
            array = getattr(self, name)
            assert array is None or array.shape == shape, f"{name} is {array.shape}, tokens are {shape}"

    @property
    def num_loss_tokens(self) -> int:
        """Positions that count in the loss: what the sum of losses is divided by."""
        return int(np.count_nonzero(self.loss_mask))


class SampleSource(Protocol):
    """A data set as the training loop sees it: samples by index, padded to a length that the loop fixes."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Padded length, in tokens, that these samples need: the loop takes the maximum over ranks."""
        ...

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """The samples, [len(indices), seq_length], in the order of `indices`."""
        ...

    def fingerprint(self) -> str:
        """Hash of the inputs and parameters that decide every sample: equal on resume, or the run is another."""
        ...
