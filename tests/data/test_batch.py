from __future__ import annotations

import numpy as np
import pytest

from megatron_codex.data.batch import Batch


def arrays(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    ids = np.zeros(shape, np.int64)
    return {"tokens": ids, "labels": ids, "loss_mask": np.zeros(shape, np.float32), "position_ids": ids}


def test_only_counted_positions_are_loss_tokens() -> None:
    values = arrays((2, 3))
    values["loss_mask"][0, 1:] = 1
    assert Batch(**values).num_loss_tokens == 2


@pytest.mark.parametrize("name", ["labels", "loss_mask", "position_ids", "document_ids"])
def test_arrays_of_other_shapes_are_a_fault_of_ours(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        Batch(**{**arrays((2, 3)), name: np.zeros((2, 4))})
