"""torch.compile by Inductor, whole: layers with their loss, forward and backward, and the optimizer's step in place.

Inductor lays out the tensors between operations as it likes: where a fake kernel's strides were wrong, so were numbers.
tests/ops/test_registered.py checks and traces every operation; here a few are compiled, for each kernel that g++
compiles takes seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import flat_adam
from megatron_codex.ops.bias_gelu import bias_gelu
from megatron_codex.ops.cross_entropy import cross_entropy
from megatron_codex.ops.layer_norm import layer_norm
from megatron_codex.ops.softmax import causal_softmax

pytestmark = [
    pytest.mark.slow,
    # torch's own modules, imported with Inductor.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing: Inductor was not run"),
]


@pytest.fixture(autouse=True)
def _inductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing from a cache; and what is slow to compile, headers apart and vectors, left out."""
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    plain = {"cpp.simdlen": 1, "cpp_cache_precompile_headers": False}
    with inductor.patch({"compile_threads": 1, "fx_graph_cache": False, **plain}):
        yield


def _layers(x: Tensor, norm: tuple[Tensor, Tensor], mix: Tensor, head: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Losses of two samples' five positions; x's channels come first in memory, and little stands between operations:
    each sum and product that does is a kernel to compile."""
    hidden = bias_gelu(layer_norm(x.transpose(0, 2) * 1.5, *norm, 1e-5))
    weights = causal_softmax((hidden @ mix)[:, None], window=3, scale=0.3)
    logits = weights @ head
    return cross_entropy(logits.flatten(0, 2), labels, loss_mask_N=mask, num_columns=11)


def _leaves() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((6, 5, 2), (6,), (6,), (6, 5), (5, 13))
    return [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]


def test_layers_and_their_loss_are_compiled_whole() -> None:
    """In fp32, against the same run eagerly: products in another order."""
    labels = torch.arange(10) % 11
    rest = (labels, labels % 3 > 0)
    compiled, eager = _leaves(), _leaves()
    losses, expected = (
        run(leaves[0], (leaves[1], leaves[2]), *leaves[3:], *rest)
        for run, leaves in ((torch.compile(_layers, fullgraph=True), compiled), (_layers, eager))
    )
    assert expected.detach().std() > 0.1
    given = torch.linspace(0.5, 1.5, 10)
    losses.backward(given)
    expected.backward(given)
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    for got, wanted in zip(compiled, eager, strict=True):
        assert got.grad is not None and wanted.grad is not None
        torch.testing.assert_close(got.grad, wanted.grad, atol=1e-5, rtol=1e-5)


def _update(gradients: Tensor, count: Tensor, buffers: list[Tensor], ends: Tensor, decays: Tensor) -> Tensor:
    """A step on doubled gradients, in place; the norm. buffers: weights, two means, bf16 weights."""
    adam = {"lr": 1e-2, "betas": (0.9, 0.95)}
    plan = torch.empty(flat_adam.PLAN_SIZE)
    doubled = gradients * 2
    flat_adam.flat_adam_plan_(flat_adam.flat_adam_square_sum(doubled), count, plan, clip_grad=1.0, **adam)
    segments = {"segment_ends_S": ends, "weight_decays_S": decays}
    flat_adam.flat_adam_step_(doubled, *buffers, **segments, plan=plan, eps=1e-8, **adam)
    return plan[4]


def test_a_step_in_place_is_compiled_whole() -> None:
    """Bitwise: no sum is taken in another order."""
    found = []
    for update in (torch.compile(_update, fullgraph=True), _update):
        draw = torch.Generator().manual_seed(1)
        gradients, weights, first, second = (torch.randn(29, generator=draw) for _ in range(4))
        count, buffers = torch.tensor([3]), [weights, first, second.square(), weights.bfloat16()]
        norm = update(gradients, count, buffers, torch.tensor([8, 29]), torch.tensor([0.1, 0.0]))
        assert not torch.equal(weights, torch.randn(29, generator=torch.Generator().manual_seed(1)))
        found.append([norm, count, *buffers])
    assert found[0][1].item() == 4
    for got, wanted in zip(*found, strict=True):
        assert torch.equal(got, wanted)
