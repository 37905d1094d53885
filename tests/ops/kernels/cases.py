"""One small case of each kernel: calls, and what they must leave. Sanitizers and injected faults run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from megatron_codex.ops import reference
from tests.ops.kernels.calls import Call, Order, double, restored, run_apart
from tests.ops.kernels.close import assert_close, normal


@dataclass(frozen=True, kw_only=True)
class Case:
    """Calls of one kernel's entry points. left: (tensor of the calls, what it must be, roundings allowed)."""

    kernel: str
    calls: Sequence[Call]
    left: Sequence[tuple[Tensor, Tensor, float]]

    def check(self, library: Path, *, sanitizer: str, orders: Sequence[Order]) -> None:
        """Runs in a process of its own.

        Raises: KernelFault; AssertionError where a result is wrong in any of the orders.
        """
        tensors = list({id(a): a for call in self.calls for a in call.arguments if isinstance(a, Tensor)}.values())
        for written in run_apart(library, self.calls, sanitizer=sanitizer, orders=orders):
            after = {id(tensor): restored(tensor, found) for tensor, found in zip(tensors, written, strict=True)}
            for tensor, expected, factor in self.left:
                assert_close(after[id(tensor)], expected, factor=factor)


def _empty(*shape: int) -> Tensor:
    return torch.full(shape, 7.0)


def vocab_parallel_ce() -> Case:
    """One rank, three rows of which the second is ignored: of 301 columns padded to 304, and of 304 without padding."""
    calls, left = [], []
    for columns in (301, 304):
        logits = normal(3, 304, dtype=torch.float32, seed=1, scale=4.0)
        logits[:, columns:] = 9.0
        labels, mask = torch.tensor([300, 0, 17]), torch.tensor([True, False, True])
        weights = torch.tensor([1.0, 1.0, 0.5])
        shape = {"true_columns": columns, "first_column": 0}
        largest, sums = reference.ce_pieces(logits, labels, mask, **shape)
        losses, _, log_sums = reference.ce_loss(largest, sums, labels, mask, vocabulary=columns)
        gradients = logits.clone()
        reference.ce_gradient(
            gradients, labels, mask, log_sums_N=log_sums, loss_gradients_N=weights, zero_ignored=False, **shape
        )
        got = [_empty(3), _empty(2, 3), _empty(3), _empty(3)]
        sizes = (3, columns, 304, 0)
        calls += [
            Call("ce_pieces", (logits, labels, mask, got[0], got[1], *sizes, 0)),
            Call("ce_loss", (got[0], got[1], labels, mask, got[2], None, got[3], 3, columns)),
            Call("ce_gradient", (logits, labels, mask, got[3], weights, *sizes, 0, 0)),
        ]
        left += [(got[0], largest, 1.0), (got[1], sums, 1.0), (got[2], losses, 2.0), (logits, gradients, 1.0)]
    return Case(kernel="vocab_parallel_ce", calls=calls, left=left)


def flat_adam() -> Case:
    """4,102 weights in two tensors, the last two no whole vector: a step with an infinite gradient, which is skipped,
    then a whole one."""
    count = 4102
    rates = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95}
    in_c = tuple(double(rate) for rate in rates.values())
    ends, decays, step = torch.tensor([3, count]), torch.tensor([0.0, 0.1]), torch.zeros(1, dtype=torch.int64)
    states = [normal(count, dtype=torch.float32, seed=2), torch.zeros(count), torch.zeros(count)]
    parameters = torch.zeros(count, dtype=torch.bfloat16)
    good, spoilt = normal(count, dtype=torch.float32, seed=3), normal(count, dtype=torch.float32, seed=4)
    spoilt[5] = torch.inf
    expected = [state.clone() for state in states]
    expected_step, expected_parameters = step.clone(), parameters.clone()
    calls, plan = [], _empty(5)
    for gradients in (spoilt, good):
        square_sum, partials = torch.zeros(1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        settled = reference.flat_adam_plan(
            reference.flat_adam_square_sum(gradients), expected_step, gradient_scale=1.0, clip_grad=1.0, **rates
        )
        reference.flat_adam_step(
            gradients,
            master_E=expected[0],
            exp_avg_E=expected[1],
            exp_avg_sq_E=expected[2],
            parameters_E=expected_parameters,
            segment_ends_S=ends,
            weight_decays_S=decays,
            plan=settled,
            eps=1e-8,
            **rates,
        )
        whole = (gradients, *states, parameters, ends, decays, 2, plan, count, *in_c, double(1e-8), 0, 1)
        calls += [
            Call("flat_adam_square_sum", (gradients, partials, square_sum, count, 0)),
            Call("flat_adam_plan", (square_sum, step, plan, double(1.0), double(1.0), *in_c)),
            Call("flat_adam_step", whole),
        ]
    left = [(plan, settled, 1.0), (step, expected_step, 1.0), (parameters, expected_parameters, 1.0)]
    left += [(got, wanted, 1.0) for got, wanted in zip(states, expected, strict=True)]
    return Case(kernel="flat_adam", calls=calls, left=left)


def merge_attn_states() -> Case:
    """Nine rows, one more than a block takes; the second part of the last has no keys. In place."""
    first, second = normal(9, 80, dtype=torch.float32, seed=5), normal(9, 80, dtype=torch.float32, seed=6)
    first_lse, second_lse = normal(9, dtype=torch.float32, seed=7), normal(9, dtype=torch.float32, seed=8)
    second_lse[8] = -torch.inf
    merged, lse = reference.merge_attn_states(first, first_lse, second, second_lse)
    call = Call("merge_attn_states", (first, first_lse, second, second_lse, first, first_lse, 9, 80, 0))
    return Case(kernel="merge_attn_states", calls=[call], left=[(first, merged, 1.0), (first_lse, lse, 1.0)])


def decode_suffix() -> Case:
    """Two samples of 140 and 5 positions: a warp takes a second tile, and others none."""
    queries, lengths = normal(2, 1, 80, dtype=torch.bfloat16, seed=9), torch.tensor([140, 5], dtype=torch.int32)
    keys, values = (normal(2, 140, 1, 80, dtype=torch.bfloat16, seed=seed) for seed in (10, 11))
    expected, expected_lse = reference.decode_suffix(queries, keys, values, lengths, window=139, scale=0.5)
    attended, lse = torch.empty_like(queries), _empty(2, 1)
    sizes = (2, 1, 80, 140 * 80, 80, 80, 139, 0.5, 1)
    call = Call("decode_suffix", (queries, keys, values, lengths, attended, lse, *sizes))
    return Case(kernel="decode_suffix", calls=[call], left=[(attended, expected, 1.0), (lse, expected_lse, 1.0)])


def causal_softmax() -> Case:
    """Two samples of three queries after 290 keys, the second padded; a band of 150; in place, rows of 33 vectors."""
    scores, gradients = (normal(2, 1, 3, 264, dtype=torch.float16, seed=seed) for seed in (12, 13))
    padding = torch.tensor([0, 200], dtype=torch.int32)
    shape = {"first_key": 260, "window": 150, "scale": 0.5}
    shares = reference.banded_softmax(scores, padding, **shape)
    expected = reference.banded_softmax_gradient(shares, gradients, padding, **shape)
    sizes = (2, 1, 3, 264, 260, 150, 0.5, 2)
    calls = [
        Call("causal_softmax", (scores, scores, padding, *sizes)),
        Call("causal_softmax_gradient", (scores, gradients, gradients, padding, *sizes)),
    ]
    return Case(kernel="causal_softmax", calls=calls, left=[(scores, shares, 1.0), (gradients, expected, 2.0)])


def bias_gelu() -> Case:
    """Nine rows of 41 features, so that no vector fits: two partial sums."""
    x, given, bias = (normal(*shape, dtype=torch.float32, seed=14) for shape in ((9, 41), (9, 41), (41,)))
    expected, of_bias = reference.bias_gelu_gradient(x, bias, given)
    y, partials, bias_gradient = torch.empty_like(x), _empty(2, 41), _empty(41)
    calls = [
        Call("bias_gelu", (x, bias, y, 9, 41, 0)),
        Call("bias_gelu_gradient", (x, bias, given, given, partials, bias_gradient, 9, 41, 0)),
    ]
    left = [(y, reference.bias_gelu(x, bias), 1.0), (given, expected, 1.0), (bias_gradient, of_bias, 4.0)]
    return Case(kernel="bias_gelu", calls=calls, left=left)


def layer_norm() -> Case:
    """Two rows of 1,028: more than the threads have at once."""
    x, given = (normal(2, 1028, dtype=torch.float32, seed=seed) for seed in (15, 16))
    weight, bias = (normal(1028, dtype=torch.float32, seed=seed) for seed in (17, 18))
    expected, means, inverse = reference.layer_norm(x, weight, bias, epsilon=1e-5)
    x_gradients, of_parameters = reference.layer_norm_gradient(x, weight, means, inverse, given)
    y, saved, sums = torch.empty_like(x), [_empty(2), _empty(2)], _empty(2, 1028)
    calls = [
        Call("layer_norm", (x, weight, bias, y, *saved, 2, 1028, 1e-5, 0)),
        Call("layer_norm_gradient", (x, weight, *saved, given, given, _empty(2, 2, 1028), sums, 2, 1028, 0)),
    ]
    left = [(y, expected, 4.0), (saved[1], inverse, 4.0), (given, x_gradients, 4.0), (sums, of_parameters, 4.0)]
    return Case(kernel="layer_norm", calls=calls, left=left)


CASES = (vocab_parallel_ce, flat_adam, merge_attn_states, decode_suffix, causal_softmax, bias_gelu, layer_norm)
