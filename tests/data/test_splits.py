from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.data.splits import SPLIT_NAMES, split_runs
from megatron_codex.errors import InputError
from tests.data.datasets import split_documents

shares = st.tuples(*[st.floats(0, 100)] * 3).filter(lambda values: sum(values) > 1e-6)


@settings(deadline=None)
@given(st.integers(0, 300), shares, st.integers(0, 2**32))
def test_every_document_lies_in_exactly_one_split(num_documents: int, splits: tuple[float, ...], seed: int) -> None:
    parts = [split_documents(num_documents, split=name, splits=splits, seed=seed) for name in SPLIT_NAMES]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_documents))


@pytest.mark.parametrize("splits", [(98, 1, 1), (0.98, 0.01, 0.01), (980, 10, 10)], ids=str)
def test_shares_are_relative_and_exact(splits: tuple[float, ...]) -> None:
    parts = {name: split_documents(1_000, split=name, splits=splits, seed=5) for name in SPLIT_NAMES}
    assert {name: len(part) for name, part in parts.items()} == {"train": 980, "valid": 10, "test": 10}
    assert np.array_equal(parts["valid"], split_documents(1_000, split="valid", splits=(98, 1, 1), seed=5))


def test_the_seed_chooses_the_documents() -> None:
    first, again, other = (split_documents(100, split="train", splits=(1, 1, 0), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(50))


def test_documents_keep_their_order() -> None:
    part = split_documents(1_000, split="train", splits=(1, 1, 0), seed=1)
    assert part.tolist() == sorted(part.tolist())


@settings(deadline=None)
@given(st.integers(3, 300), shares, st.integers(0, 2**32))
def test_a_positive_share_has_documents(num_documents: int, splits: tuple[float, ...], seed: int) -> None:
    for name, share in zip(SPLIT_NAMES, splits, strict=True):
        part = split_documents(num_documents, split=name, splits=splits, seed=seed)
        assert (len(part) > 0) == (share > 0)


def test_too_few_documents_are_trained_on_first() -> None:
    counts = {
        total: [len(split_documents(total, split=name, splits=(98, 1, 1), seed=5)) for name in SPLIT_NAMES]
        for total in (0, 1, 2, 3)
    }
    assert counts == {0: [0, 0, 0], 1: [1, 0, 0], 2: [1, 1, 0], 3: [1, 1, 1]}


@pytest.mark.parametrize("num_documents", [65_537, 1_000_003, 5 * 10**9, 10**14], ids=str)
def test_many_documents_are_split_as_few_runs(num_documents: int) -> None:
    """Beyond 65,536 documents splits are made of blocks: whole, apart, and their shares met to one block."""
    runs = {name: split_runs(num_documents, split=name, splits=(90, 9, 1), seed=5) for name in SPLIT_NAMES}
    together = np.concatenate(list(runs.values()))
    together = together[np.argsort(together[:, 0])]
    assert together[0, 0] == 0 and together[-1, 1] == num_documents
    assert np.array_equal(together[1:, 0], together[:-1, 1])
    assert len(together) < 20_000 and (together[:, 0] < together[:, 1]).all()
    for name, share in zip(SPLIT_NAMES, (0.90, 0.09, 0.01), strict=True):
        documents = int((runs[name][:, 1] - runs[name][:, 0]).sum())
        assert abs(documents / num_documents - share) < 2 / 65_536


def test_the_splits_never_change() -> None:
    """Golden: a run resumed with another version of the code must hold out the same documents."""
    assert split_documents(12, split="valid", splits=(2, 1, 1), seed=3).tolist() == GOLDEN_FEW
    assert split_runs(10**8, split="test", splits=(98, 1, 1), seed=3)[:3].tolist() == GOLDEN_MANY


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


GOLDEN_FEW = [0, 3, 6]
GOLDEN_MANY = [[425720, 427246], [1100158, 1101684], [1141357, 1142883]]
