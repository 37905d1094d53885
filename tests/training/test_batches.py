"""The share of a rank: the same global batch in every layout, one length, rows beyond the end masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from megatron_codex.config.load import build_config
from megatron_codex.config.training import TrainConfig
from megatron_codex.data.batch import Batch
from megatron_codex.data.blend import BlendedSource
from megatron_codex.data.length_groups import LengthGroupedOrder
from megatron_codex.data.order import ShuffledOrder
from megatron_codex.model.attention import hidden_keys
from megatron_codex.training.batches import GlobalBatches, run_batches, run_order
from tests.parallel.verify_ranks import SMALL


class _Source:
    """Sample k has k % 5 + 1 tokens, all of them k. It keeps its masks: nobody may write into them."""

    masks: dict[tuple[int, ...], np.ndarray]

    def __init__(self) -> None:
        self.masks = {}

    def __len__(self) -> int:
        return 10

    def sequence_length(self, indices: Sequence[int]) -> int:
        return max(index % 5 + 1 for index in indices)

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        tokens = np.repeat(np.array(indices)[:, None], seq_length, axis=1)
        lengths = np.array([index % 5 + 1 for index in indices])[:, None]
        mask = self.masks.setdefault(tuple(indices), (np.arange(seq_length) < lengths).astype(np.float32))
        positions = np.broadcast_to(np.arange(seq_length), tokens.shape)
        return Batch(tokens=tokens, labels=tokens + 1, loss_mask=mask, position_ids=positions)

    def fingerprint(self) -> str:
        return ""


class _OneLength(_Source):
    def sequence_length(self, indices: Sequence[int]) -> int:
        return 5


def _batches(dp_rank: int = 0, dp_size: int = 1, **kwargs: object) -> GlobalBatches:
    settings = {"source": _Source(), "order": lambda position: position % 10, "global_batch_size": 4}
    settings |= {"micro_batch_size": 1} | kwargs
    return GlobalBatches(dp_rank=dp_rank, dp_size=dp_size, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dp_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_ranks_together_see_the_global_batch_once(dp_size: int, micro_batch_size: int) -> None:
    if 4 // dp_size % micro_batch_size:
        return
    seen = []
    for rank in range(dp_size):
        batch = _batches(rank, dp_size, micro_batch_size=micro_batch_size).at(2)
        assert batch.seq_length == 5
        seen += [int(row[0]) for micro in batch.micro_batches for row in micro.tokens]
    assert sorted(seen) == [0, 1, 8, 9]


def test_a_blend_s_batches_hold_its_shares_and_other_sources_are_shuffled() -> None:
    """Three of four samples, in every batch of four of two epochs; and all ten samples once an epoch."""
    blend = BlendedSource([_OneLength(), _OneLength()], weights=[3, 1], seed=1)
    blended = _batches(source=blend, order=run_order(blend, seed=1))
    assert len(blend) == 40
    own = [blend._locate(index)[0] for index in range(80)]
    assert [sum(own[start : start + 4]) for start in range(0, 80, 4)] == [1] * 20
    for step in range(20):
        expected = blend.batch(range(4 * step, 4 * step + 4), seq_length=5).tokens[:, 0].tolist()
        assert [int(micro.tokens[0, 0]) for micro in blended.at(step).micro_batches] == expected

    positions = np.arange(10)
    assert np.array_equal(run_order(_Source(), seed=3)(positions), ShuffledOrder(10, 3)(positions))


class _Lengths(_Source):
    lengths = np.stack([np.arange(10) % 5, np.ones(10, np.int64)], axis=1)


def test_ranks_share_a_global_batch_of_like_lengths() -> None:
    """Two whole batches of four in an epoch of ten: they hold the samples in the order of their lengths."""
    order = run_order(_Lengths(), seed=3, grouped_into=4)
    assert isinstance(order, LengthGroupedOrder)
    for step in range(6):
        whole = _batches(source=_Lengths(), order=order).at(step)
        shares = [_batches(rank, 2, source=_Lengths(), order=order).at(step) for rank in (0, 1)]
        rows = [[micro.tokens[:, 0].tolist() for micro in each.micro_batches] for each in (whole, *shares)]
        assert rows[0] == rows[1] + rows[2]
        assert {each.seq_length for each in shares} == {whole.seq_length}


def test_padding_is_counted_on_each_rank() -> None:
    class Padded(_Source):
        def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
            made = super().batch(indices, seq_length=seq_length)
            return replace(made, document_ids=np.where(made.loss_mask > 0, 0, -1))

    shares = [_batches(rank, 2, source=Padded(), length_multiple=4).at(0) for rank in (0, 1)]
    assert [share.num_padding for share in shares] == [8 - 1 - 2, 8 - 3 - 4]
    assert _batches().at(0).num_padding == 0


def test_the_length_is_that_of_the_global_batch_rounded_up() -> None:
    first, second = (_batches(rank, 2, length_multiple=4).at(0) for rank in (0, 1))
    assert first.seq_length == second.seq_length == 4
    assert first.num_loss_tokens == 1 + 2 and second.num_loss_tokens == 3 + 4
    assert _batches(length_multiple=4).at(1).seq_length == 8
    assert first.micro_batches[0].tokens.shape == (1, 4)


def test_rows_beyond_the_end_count_nothing_and_the_source_keeps_its_mask() -> None:
    batches = _batches(num_positions=10, micro_batch_size=4)
    batch = batches.at(2)
    assert batch.num_loss_tokens == 4 + 5
    assert not batch.micro_batches[0].loss_mask[2:].any()
    assert all(mask[:, 0].all() for mask in batches.source.masks.values())  # type: ignore[attr-defined]


def test_largest_token_counts_labels_too() -> None:
    assert _batches().at(2).largest_token == 10


@pytest.mark.parametrize("name", ["tokens", "labels"])
def test_a_negative_token_is_beyond_every_vocabulary(name: str) -> None:
    class Damaged(_Source):
        def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
            made = super().batch(indices, seq_length=seq_length)
            return replace(made, **{name: np.where(made.tokens == 3, -7, made.tokens)})

    assert _batches(source=Damaged()).at(0).largest_token > 1 << 62


def test_left_padding_alone_goes_to_attention_where_it_is_asked_for() -> None:
    class Padded(_Source):
        def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
            made = super().batch(indices, seq_length=seq_length)
            return replace(made, document_ids=np.where(made.loss_mask[:, ::-1] > 0, 0, -1))

    for by_left_padding, expected in ((False, torch.int64), (True, torch.int32)):
        settings = {"source": Padded(), "micro_batch_size": 4, "by_left_padding": by_left_padding}
        (micro,) = _batches(**settings).at(0).micro_batches
        mask = micro.attention_mask
        assert mask is not None and mask.dtype == expected
        assert mask.shape == ((4,) if by_left_padding else (4, 4))
        hidden = hidden_keys(mask, 4)[:, 0]
        assert [int((~row).sum()) for row in hidden] == [1 + 3, 3 + 2, 6 + 1, 10]  # padding sees itself


@pytest.mark.parametrize(
    ("task", "backend", "layout", "expected"),
    [
        ("codex_s", "unfused", "left_padded", True),
        ("codex_d", "unfused", "left_padded", True),
        ("codex_s", "unfused", "packed", False),
        ("codex_s", "sdpa", "left_padded", False),
        ("base", "unfused", "left_padded", False),
    ],
)
def test_a_run_knows_whether_its_rows_are_padded_on_the_left(
    task: str, backend: str, layout: str, expected: bool
) -> None:
    tree: dict[str, Any] = {"task": task, **{name: dict(SMALL[name]) for name in ("model", "tokenizer", "optimizer")}}
    tree["training"] = SMALL["training"] | {"output_dir": "x", "train_iters": 1}
    tree["data"] = {"data_prefix": "x"} if task == "base" else {"problems": "x", "layout": layout}
    tree["model"]["attention_backend"] = backend
    assert run_batches(build_config(TrainConfig, tree), _Source(), None).by_left_padding == expected


def test_a_key_is_hidden_in_another_document_in_the_future_and_in_padding() -> None:
    hidden = hidden_keys(torch.tensor([[-1, 0, 0, 1, -1]]), 5)[0, 0]
    visible = [[int(key) for key in torch.nonzero(~row).flatten()] for row in hidden]
    assert visible == [[0], [1], [1, 2], [3], [4]]
