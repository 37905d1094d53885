from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.data.splits import SPLIT_NAMES, split_documents
from megatron_codex.errors import InputError

shares = st.tuples(*[st.floats(0, 100)] * 3).filter(lambda values: sum(values) > 1e-6)


@given(st.integers(0, 300), shares, st.integers(0, 2**32))
def test_every_document_lies_in_exactly_one_split(num_documents: int, splits: tuple[float, ...], seed: int) -> None:
    parts = [split_documents(num_documents, split=name, splits=splits, seed=seed) for name in SPLIT_NAMES]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_documents))


@pytest.mark.parametrize("splits", [(98, 1, 1), (0.98, 0.01, 0.01), (980, 10, 10)], ids=str)
def test_shares_are_relative_and_exact(splits: tuple[float, ...]) -> None:
    parts = {name: split_documents(1_000, split=name, splits=splits, seed=5) for name in SPLIT_NAMES}
    assert {name: len(part) for name, part in parts.items()} == {"train": 980, "valid": 10, "test": 10}
    assert np.array_equal(parts["valid"], split_documents(1_000, split="valid", splits=(98, 1, 1), seed=5))


def test_documents_are_shuffled_by_the_seed() -> None:
    first, again, other = (split_documents(100, split="train", splits=(1, 0, 0), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(100))


@pytest.mark.parametrize(
    "splits",
    [(1, 1), (1, 0, 0, 0), (-1, 1, 1), (0, 0, 0), (float("nan"), 1, 1), (float("inf"), 1, 1)],
    ids=str,
)
def test_shares_that_are_none_are_refused(splits: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="splits: got"):
        split_documents(10, split="train", splits=splits, seed=0)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="split: got 'dev'; must be one of train, valid, test"):
        split_documents(10, split="dev", splits=(1, 1, 1), seed=0)  # type: ignore[arg-type]
