"""csrc/kernels/flat_adam against torch.optim.AdamW: weight decay by tensor, clipping, skipped steps, resuming."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, double, library, run, size, status
from tests.ops.kernels.close import normal

NAME = "flat_adam"
LR, BETA1, BETA2, EPS, CLIP = 3e-3, 0.9, 0.95, 1e-8, 1.0
SIZES = [3, 1, 4100, 0, 7, 64]
"""Tensors of one buffer: smaller than a vector, larger than a block's chunk, empty."""
DECAYS = [0.1, 0.0, 0.1, 0.5, 0.0, 0.01]


def _assert_weights(got: Tensor, expected: Tensor, *, steps: int) -> None:
    """A step: one unit in the last place of the weight, and of the step. torch's vectors have square roots that are one
    unit off those of IEEE 754, and its norm is an fp32."""
    allowed = steps * 2.0**-23 * (expected.abs() + LR)
    assert ((got - expected).abs() <= allowed).all(), ((got - expected).abs() / allowed).max()


class Buffer:
    """One flat buffer and its optimizer state."""

    def __init__(self, dtype: torch.dtype, *, offset: int = 0) -> None:
        """offset: where the fp32 states begin, in elements: vectors do not fit from 1 on."""
        self.count, self.dtype = sum(SIZES), dtype
        self.master, self.first, self.second = (torch.zeros(self.count + offset)[offset:] for _ in range(3))
        self.master.copy_(normal(self.count, dtype=torch.float32, seed=1))
        self.parameters = torch.zeros(self.count, dtype=dtype)
        self.ends = torch.tensor(SIZES).cumsum(0)
        self.decays, self.step = torch.tensor(DECAYS), torch.zeros(1, dtype=torch.int64)
        self.square_sum, self.plan = torch.full((1,), 7.0, dtype=torch.float64), torch.full((5,), 7.0)

    def states(self) -> list[Tensor]:
        return [self.master, self.first, self.second, self.parameters, self.step]

    def calls(self, gradients: Tensor, *, scale: float = 1.0, clip: float = CLIP) -> list[Call]:
        partials = torch.empty(size(library(NAME), "flat_adam_num_partials", self.count), dtype=torch.float64)
        rates = (double(LR), double(BETA1), double(BETA2))
        states = (self.master, self.first, self.second, self.parameters, self.ends, self.decays, len(SIZES))
        tail = (self.count, *rates, double(EPS), DTYPES[gradients.dtype], DTYPES[self.dtype])
        return [
            Call("flat_adam_square_sum", (gradients, partials, self.square_sum, self.count, DTYPES[gradients.dtype])),
            Call("flat_adam_plan", (self.square_sum, self.step, self.plan, double(scale), double(clip), *rates)),
            Call("flat_adam_step", (gradients, *states, self.plan, *tail)),
        ]


def _gradients(number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal(sum(SIZES), dtype=dtype, seed=10 + number, scale=0.1 if number % 2 else 1e-3)


def _torch_adamw(gradients: list[Tensor], *, scale: float, clip: float) -> tuple[list[Tensor], list[float]]:
    """Weights and both moments, and the norms, of torch's own optimizer over separate tensors."""
    weights = [w.clone().requires_grad_() for w in normal(sum(SIZES), dtype=torch.float32, seed=1).split(SIZES)]
    groups = [{"params": [w], "weight_decay": decay} for w, decay in zip(weights, DECAYS, strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(BETA1, BETA2), eps=EPS, foreach=False)
    norms = []
    for given in gradients:
        for weight, gradient in zip(weights, (given.float() * scale).split(SIZES), strict=True):
            weight.grad = gradient.clone()
        norms.append(torch.nn.utils.clip_grad_norm_(weights, clip or torch.inf).item())
        optimizer.step()
    moments = [torch.cat([optimizer.state[w][name] for w in weights]) for name in ("exp_avg", "exp_avg_sq")]
    return [torch.cat([w.detach() for w in weights]), *moments], norms


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    ("gradient_dtype", "dtype"),
    [(g, p) for g in DTYPES for p in DTYPES if g == torch.float32 or p != torch.float32],
    ids=str,
)
def test_six_steps_are_those_of_torch(gradient_dtype: torch.dtype, dtype: torch.dtype, order: Order) -> None:
    buffer, gradients = Buffer(dtype), [_gradients(number, gradient_dtype) for number in range(6)]
    (expected, *_), norms = _torch_adamw(gradients, scale=0.5, clip=CLIP)
    for number in range(6):
        run(library(NAME), *buffer.calls(gradients[number], scale=0.5), order=order)
        assert math.isclose(buffer.plan[4].item(), norms[number], rel_tol=1e-5)
    assert buffer.step.item() == 6 and buffer.plan[3].item() == 0.0
    _assert_weights(buffer.master, expected, steps=6)
    assert torch.equal(buffer.parameters, buffer.master.to(dtype)), "one rounding of the fp32 weights"


def _reference_step(buffer: Buffer, gradients: Tensor, *, clip: float) -> None:
    rates = {"lr": LR, "beta1": BETA1, "beta2": BETA2}
    square_sum = reference.flat_adam_square_sum(gradients)
    plan = reference.flat_adam_plan(square_sum, buffer.step, gradient_scale=1.0, clip_grad=clip, **rates)
    reference.flat_adam_step(
        gradients,
        master_E=buffer.master,
        exp_avg_E=buffer.first,
        exp_avg_sq_E=buffer.second,
        parameters_E=buffer.parameters,
        segment_ends_S=buffer.ends,
        weight_decays_S=buffer.decays,
        plan=plan,
        eps=EPS,
        **rates,
    )


def test_moments_are_torchs_bitwise_and_so_is_the_reference() -> None:
    """Without clipping, since torch's norm is an fp32."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("torch's optimizer fuses multiplications with additions where it has AVX2; it has not here")
    gradients = [_gradients(number) for number in range(6)]
    expected, _ = _torch_adamw(gradients, scale=1.0, clip=0.0)
    twin, buffer = Buffer(torch.bfloat16), Buffer(torch.bfloat16)
    for given in gradients:
        _reference_step(twin, given, clip=0.0)
        run(library(NAME), *buffer.calls(given, clip=0.0))
    assert all(torch.equal(a, b) for a, b in zip((twin.master, twin.first, twin.second), expected, strict=True))
    assert torch.equal(buffer.first, expected[1]) and torch.equal(buffer.second, expected[2])
    _assert_weights(buffer.master, expected[0], steps=6)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_resuming_is_bitwise_whatever_the_order_and_alignment(order: Order, offset: int) -> None:
    whole, begun, resumed = Buffer(torch.bfloat16), Buffer(torch.bfloat16), Buffer(torch.bfloat16, offset=offset)
    for number in range(4):
        run(library(NAME), *whole.calls(_gradients(number)))
    for number in range(2):
        run(library(NAME), *begun.calls(_gradients(number)))
    for state, saved in zip(resumed.states(), begun.states(), strict=True):
        state.copy_(saved)
    for number in range(2, 4):
        gradients = torch.cat([torch.zeros(offset), _gradients(number)])[offset:]
        run(library(NAME), *resumed.calls(gradients), order=order)
    assert all(torch.equal(a, b) for a, b in zip(resumed.states(), whole.states(), strict=True))


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan], ids=str)
@pytest.mark.parametrize("at", [0, 2100, -1])
def test_a_gradient_that_is_no_number_skips_the_step_and_the_next_one_goes_on(value: float, at: int) -> None:
    buffer, untouched = Buffer(torch.float16), Buffer(torch.float16)
    spoilt = _gradients(0, torch.float16)
    spoilt[at] = value
    before = [state.clone() for state in buffer.states()]
    run(library(NAME), *buffer.calls(spoilt))
    assert buffer.plan[3].item() == 1.0 and buffer.plan[0].item() == 0.0
    assert all(torch.equal(a, b) for a, b in zip(buffer.states(), before, strict=True))
    for one in (buffer, untouched):
        run(library(NAME), *one.calls(_gradients(1, torch.float16)))
    assert all(torch.equal(a, b) for a, b in zip(buffer.states(), untouched.states(), strict=True))


def test_large_gradients_are_numbers_and_none_give_zero() -> None:
    """Squares that fp32 has no number for do not look like infinity."""
    gradients, partials = torch.full((5,), 1e30), torch.empty(1, dtype=torch.float64)
    square_sum = torch.zeros(1, dtype=torch.float64)
    run(library(NAME), Call("flat_adam_square_sum", (gradients, partials, square_sum, 5, 0)))
    assert math.isclose(square_sum.item(), float(reference.flat_adam_square_sum(gradients)))
    run(library(NAME), Call("flat_adam_square_sum", (gradients, partials, square_sum, 0, 0)))
    assert square_sum.item() == 0.0 and size(library(NAME), "flat_adam_num_partials", 0) == 0


def test_a_sum_of_many_blocks() -> None:
    count = 1025 * 4096 + 5
    gradients, square_sum = torch.ones(count, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.float64)
    partials = torch.empty(1024, dtype=torch.float64)
    assert size(library(NAME), "flat_adam_num_partials", count) == 1024
    run(library(NAME), Call("flat_adam_square_sum", (gradients, partials, square_sum, count, 1)))
    assert square_sum.item() == count


def test_without_clipping_and_without_parameters_and_bad_calls() -> None:
    buffer = Buffer(torch.float32)
    calls = buffer.calls(_gradients(1), clip=0.0)
    arguments = list(calls[2].arguments)
    arguments[4] = None
    run(library(NAME), *calls[:2], Call("flat_adam_step", arguments))
    assert buffer.plan[0].item() == 1.0 and not buffer.parameters.any()

    def answer(position: int, value: object) -> int:
        changed = [*arguments[:position], value, *arguments[position + 1 :]]
        return status(library(NAME), Call("flat_adam_step", changed))  # type: ignore[arg-type]

    assert answer(9, -1) == 2 and answer(7, 0) == 2 and answer(1, None) == 3 and answer(14, 7) == 1
    assert answer(15, 7) == 1
