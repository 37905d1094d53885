"""Sizes at the ends of what each entry point takes: none is nothing to do, beyond the limits is answered only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.ops.kernels.calls import Argument, Call, double, library, status

OK, BAD_SIZE = 0, 2
TOO_MANY = 2**31
"""Rows, or blocks, of a launch."""


def _floats(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


def _calls() -> Iterator[tuple[str, Call, dict[int, tuple[list[int], list[int]]]]]:
    """(kernel, a good call of one row, position of a size -> ([taken], [refused]))"""
    row, one, two = _floats(1, 4), _floats(1), _floats(2, 1)
    usual = ([0, 1], [-1, TOO_MANY])
    yield "bias_gelu", Call("bias_gelu", (row, _floats(4), row, 1, 4, 0)), {3: usual, 4: usual}
    gelu = (row, _floats(4), row, row, row.clone(), _floats(4), 1, 4, 0)
    yield "bias_gelu", Call("bias_gelu_gradient", gelu), {6: usual, 7: usual}
    sizes = (1, 1, 1, 4, 3, 0, 1.0, 0)
    counts, first = ([0, 1], [-1, TOO_MANY]), ([-1, 0, 2**31 - 1], [TOO_MANY, -(2**31)])
    softmax = (row, row, None, *sizes)
    limits = dict.fromkeys((3, 4, 5, 6), counts) | {7: first, 8: ([0, 1], [-1])}
    yield "causal_softmax", Call("causal_softmax", softmax), limits
    gradient = (row, row, row, None, *sizes)
    shifted = {position + 1: values for position, values in limits.items()}
    yield "causal_softmax", Call("causal_softmax_gradient", gradient), shifted
    head, length = _floats(1, 1, 64), torch.ones(1, dtype=torch.int32)
    suffix = (head, head, head, length, head.clone(), one, 1, 1, 64, 64, 64, 64, 0, 1.0, 0)
    heads = ([64], [0, 4, 48, 256, -64])  # 80, 96 and 128 are taken too, of tensors that have them
    yield "decode_suffix", Call("decode_suffix", suffix), {6: usual, 7: usual, 8: heads, 12: ([0, 5], [-1])}
    merge = (row, one, row, one, row, one, 1, 4, 0)
    yield "merge_attn_states", Call("merge_attn_states", merge), {6: usual, 7: ([0, 4], [-1, 1025])}
    norm = (row, _floats(4), _floats(4), row, one, one, 1, 4, 1e-5, 0)
    yield "layer_norm", Call("layer_norm", norm), {6: usual, 7: ([1, 4], [0, -1, 20481])}
    norm_gradient = (row, _floats(4), one, one, row, row, _floats(2, 4), _floats(2, 4), 1, 4, 0)
    yield "layer_norm", Call("layer_norm_gradient", norm_gradient), {8: usual, 9: ([1, 4], [0, -1, 20481])}
    labels = torch.zeros(1, dtype=torch.int64)
    columns, padded = ([0, 3, 4], [-1, 5]), ([4], [-1, 3])
    pieces = (row, labels, None, one, two, 1, 4, 4, 0, 0)
    yield "vocab_parallel_ce", Call("ce_pieces", pieces), {5: usual, 6: columns, 7: padded}
    yield "vocab_parallel_ce", Call("ce_rescale", (two, one, one, 1)), {3: ([0, 1], [-1])}
    loss = (one, two, labels, None, one.clone(), None, one.clone(), 1, 4)
    yield "vocab_parallel_ce", Call("ce_loss", loss), {7: ([0, 1], [-1]), 8: ([1, 4], [-1])}
    ce_gradient = (row, labels, None, one, one, 1, 4, 4, 0, 0, 0)
    yield "vocab_parallel_ce", Call("ce_gradient", ce_gradient), {5: usual, 6: columns, 7: padded}
    doubles = [torch.zeros(1, dtype=torch.float64) for _ in range(2)]
    yield "flat_adam", Call("flat_adam_square_sum", (row, *doubles, 4, 0)), {3: ([0, 4], [-1])}
    states, ends = [_floats(4) for _ in range(4)], torch.tensor([4])
    rates = [double(value) for value in (0.1, 0.9, 0.99, 1e-8)]
    step = (*states, None, ends, one, 1, _floats(5), 4, *rates, 0, 0)
    yield "flat_adam", Call("flat_adam_step", step), {7: ([1], [0, -1]), 9: ([0, 4], [-1])}


CASES = [
    pytest.param(kernel, call, position, value, wanted, id=f"{call.name}-{position}-{value}")
    for kernel, call, limits in _calls()
    for position, answers in limits.items()
    for wanted, values in zip((OK, BAD_SIZE), answers, strict=True)
    for value in values
]


@pytest.mark.parametrize(("kernel", "call", "position", "value", "wanted"), CASES)
def test_a_size_is_taken_or_answered(kernel: str, call: Call, position: int, value: int, wanted: int) -> None:
    arguments: list[Argument] = list(call.arguments)
    arguments[position] = value
    assert status(library(kernel), Call(call.name, arguments)) == wanted
