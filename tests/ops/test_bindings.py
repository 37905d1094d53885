"""The bindings of csrc/bindings, on a CPU: torch's operation, the stable ABI, and the very CUDA kernel on fibers, at
once.

What nvcc compiles for a GPU, g++ compiles here (csrc/common/on_cpu); the bindings take CPU tensors then, in a namespace
of their own. So the order of arguments, shapes, dtypes and scratch are checked against the operations' reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax
from megatron_codex.ops.registered import SCHEMAS
from megatron_codex.ops.shared_prefix import Prompts, attend_to_prompts
from megatron_codex.sampling.cache import KeyValueCache
from tests.ops.examples import EXAMPLES, TOLERANCES, Drawn, assert_close, tensors_of
from tests.ops.kernels.build import cuda_headers, folder, kernel, need_compiler
from tests.ops.test_cuda_build import COMPOSED, build_cuda
from tests.sampling.conftest import make_model, random_tensors

NAMESPACE = "megatron_codex_on_cpu"
REGISTERING = (bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax)


@pytest.fixture(scope="module")
def kernels() -> Iterator[Any]:
    """The operations of NAMESPACE, whose CPU kernels are the CUDA ones."""
    need_compiler()
    if not hasattr(torch, "_codex_kernels_on_cpu"):
        names = [path.stem for path in build_cuda.kernel_sources()]
        libraries = [kernel(name) for name in names]
        options = ("-O1", "-DCODEX_ON_CPU", "-isystem", str(cuda_headers()))
        torchs = Path(torch.__file__).parent
        # As one file: torch's headers are read once.
        together = folder() / "bindings.cc"
        together.write_text("".join(f'#include "{source}"\n' for source in build_cuda.binding_sources()))
        objects = [build_cuda.compile_binding(together, torchs, folder(), options)]
        library = folder() / "bindings.so"
        paths = ["-Wl,--no-as-needed", *map(str, libraries), f"-L{torchs / 'lib'}", "-ltorch_cpu"]
        build_cuda._run(["g++", "-shared", "-o", str(library), *map(str, objects), *paths], library)
        definitions = torch.library.Library(NAMESPACE, "DEF")
        for name, schema in SCHEMAS.items():
            if name not in COMPOSED:
                definitions.define(schema)
        torch.ops.load_library(library)
        torch._codex_kernels_on_cpu = definitions  # type: ignore[attr-defined]
    yield getattr(torch.ops, NAMESPACE)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - COMPOSED))
def test_kernels_are_called_as_their_headers_say(kernels: Any, name: str, dtype: torch.dtype) -> None:
    got, expected = (EXAMPLES[name](Drawn(dtype, "cpu", differentiable=False)) for _ in range(2))
    found = tensors_of(getattr(kernels, name)(*got), got)
    wanted = tensors_of(getattr(torch.ops.megatron_codex, name)(*expected), expected)
    assert found
    for mine, reference in zip(found, wanted, strict=True):
        assert_close(mine, reference, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("bands", [(None, None), (None, 2)], ids=["dense", "banded"])
def test_what_sampling_passes_is_taken(kernels: Any, dtype: torch.dtype, bands: tuple[int | None, ...]) -> None:
    """A decoder of heads of 64 whose attention over own positions, and the merge, are the CUDA programs: prompts of one
    token and of several, the first tokens, queries and keys as the decoder lays them out. Against plain torch."""

    def attention(queries: Tensor, prompts: Prompts, *own: Tensor, scale: float, window: int = 0) -> Tensor:
        of_prompts = attend_to_prompts(queries, prompts, own[2], window=window, scale=scale)
        return kernels.merge_attn_states(*of_prompts, *kernels.decode_suffix(queries, *own, window, scale))[0]

    tensors = random_tensors(hidden_size=256, std=0.05)
    decoder = make_model(tensors, kernels="reference", attention_bands=bands, dtype=dtype).decoder
    prompts = [decoder.prefill(torch.tensor(tokens))[1] for tokens in ([5], [7, 2, 9, 200, 31, 8, 4])]
    mine = KeyValueCache(prompts, [0, 1, 1], attention=attention)
    plain = decoder.cache(prompts, [0, 1, 1])
    for tokens in ([1, 2, 3], [50, 60, 70], [9, 8, 7]):
        got, expected = (decoder.step(torch.tensor(tokens), cache) for cache in (mine, plain))
        assert_close(got, expected, 3 * TOLERANCES[dtype])  # two layers, and the norms between


_FIVE = torch.zeros(5)
WRONG: dict[str, tuple[str, int, Any, str]] = {
    "gelu_dtype": (
        "bias_gelu",
        0,
        torch.zeros(3, 5, dtype=torch.int32),
        "bias must be of x's dtype and last dimension",
    ),
    "gelu_bias": ("bias_gelu", 1, torch.zeros(4), "bias must be of x's dtype and last dimension"),
    "gelu_gradients_bias": ("bias_gelu_gradient", 1, torch.zeros(4), "bias must be of x's dtype and last dimension"),
    "gelu_gradient": ("bias_gelu_gradient", 2, torch.zeros(2, 5), "out_gradient must be like x"),
    "norm_weight": ("layer_norm", 1, torch.zeros(9), "weight and bias must be of x's dtype and last dimension"),
    "norm_bias": ("layer_norm", 2, torch.zeros(10).double(), "weight and bias must be of x's dtype and last dimension"),
    "norm_gradients_weight": (
        "layer_norm_gradient",
        1,
        torch.zeros(9),
        "weight must be of x's dtype and last dimension",
    ),
    "norm_gradient": ("layer_norm_gradient", 4, torch.zeros(5, 10), "out_gradient must be like x"),
    "norm_means": ("layer_norm_gradient", 2, _FIVE, "statistics must be fp32, one a row"),
    "norm_deviations": ("layer_norm_gradient", 3, torch.zeros(6).double(), "statistics must be fp32, one a row"),
    "scores": ("causal_softmax", 0, torch.zeros(2, 3, 5), "scores must have four dimensions"),
    "padding": ("causal_softmax", 1, torch.zeros(3, dtype=torch.int32), "left_padding must be int32, one a sample"),
    "padding_dtype": ("causal_softmax", 1, torch.zeros(2).long(), "left_padding must be int32, one a sample"),
    "probabilities": ("causal_softmax_gradient", 1, torch.zeros(2, 2, 3, 4), "gradient must be like probabilities"),
    "labels_dtype": ("ce_pieces", 1, torch.zeros(5, dtype=torch.int32), "labels must be int64, one a row"),
    "labels": ("ce_pieces", 1, torch.zeros(4).long(), "labels must be int64, one a row"),
    "mask": ("ce_gradient_", 2, torch.ones(4, dtype=torch.bool), "loss_mask must be bool, one a row"),
    "mask_dtype": ("ce_loss", 3, _FIVE, "loss_mask must be bool, one a row"),
    "columns": ("ce_pieces", 3, 10, "num_columns must not exceed the logits' columns"),
    "negative_columns": ("ce_pieces", 3, -1, "num_columns must not exceed the logits' columns"),
    "rows": ("ce_gradient_", 0, torch.zeros(9, 5).t(), "logits must be a matrix, row by row"),
    "rescaled_sums": ("ce_rescale_", 0, torch.zeros(2, 4), r"sums must be fp32 \[2, rows\]"),
    "rescaled_largest": ("ce_rescale_", 1, torch.zeros(4), "largest and local_largest must be fp32, one a row"),
    "loss_sums": ("ce_loss", 1, _FIVE, r"largest \[rows\] and sums \[2, rows\] must be fp32"),
    "log_sums": ("ce_gradient_", 3, torch.zeros(4), "log_sums and loss_gradients must be fp32, one a row"),
    "loss_gradients": ("ce_gradient_", 4, _FIVE.double(), "log_sums and loss_gradients must be fp32, one a row"),
    "queries": ("decode_suffix", 0, torch.zeros(3, 2, 1, 64), r"queries must be \[B, A, D\], keys and values \[B, S,"),
    "keys_dtype": (
        "decode_suffix",
        1,
        torch.zeros(3, 4, 2, 64).half(),
        "keys and values must be of the queries'",
    ),
    "head_size": ("decode_suffix", 0, torch.zeros(3, 2, 63), "keys and values must have the queries' samples"),
    "values": ("decode_suffix", 2, torch.zeros(3, 3, 2, 64), "keys and values must have the queries' samples"),
    "lengths": ("decode_suffix", 3, torch.zeros(2, dtype=torch.int32), "lengths must be int32, one a sample"),
    "merged": ("merge_attn_states", 2, torch.zeros(3, 2, 7), "second must be like first"),
    "merged_lse": ("merge_attn_states", 3, torch.zeros(3), "the log-sum-exps must be fp32, one a row of first"),
    "summed": ("flat_adam_square_sum", 0, torch.zeros(8)[::2], "gradients must be contiguous"),
    "square_sum": ("flat_adam_plan_", 0, torch.zeros(1), r"square_sum must be fp64 \[1\]"),
    "step": ("flat_adam_plan_", 1, torch.zeros(1), r"step must be int64 \[1\]"),
    "plan": ("flat_adam_plan_", 2, torch.zeros(4), r"plan must be fp32 \[5\]"),
    "gradients": ("flat_adam_step_", 0, torch.zeros(58)[::2], "gradients must be contiguous"),
    "means": ("flat_adam_step_", 2, torch.zeros(28), "weights and means must be fp32, as many as gradients"),
    "weights": ("flat_adam_step_", 1, torch.zeros(29).half(), "weights and means must be fp32, as many as gradients"),
    "parameters": ("flat_adam_step_", 4, torch.zeros(28), "parameters must be contiguous, as many as gradients"),
    "ends": ("flat_adam_step_", 5, torch.zeros(2), "segment_ends must be int64"),
    "decays": ("flat_adam_step_", 6, torch.zeros(3), "weight_decays must be fp32, one a segment"),
    "steps_plan": ("flat_adam_step_", 7, torch.zeros(4), r"plan must be fp32 \[5\]"),
}
"""Case -> an operation, which of its example's arguments is replaced, by what, and the words of the refusal."""


@pytest.mark.parametrize("case", WRONG)
def test_what_a_kernel_cannot_take_is_refused(kernels: Any, case: str) -> None:
    name, position, value, line = WRONG[case]
    arguments = list(EXAMPLES[name](Drawn(torch.float32, "cpu", differentiable=False)))
    arguments[position] = value
    with pytest.raises(RuntimeError, match=f"{name}: {line}"):
        getattr(kernels, name)(*arguments)


def test_every_refusal_has_a_case() -> None:
    refusal = re.compile(r'call\.check\([^;]*?,\s*"([^"]+)"\);')
    said = [words for source in build_cuda.binding_sources() for words in refusal.findall(source.read_text())]
    assert len(said) == sum(source.read_text().count("call.check(") for source in build_cuda.binding_sources()) > 30
    assert not [words for words in said if not any(re.match(line, words) for *_, line in WRONG.values())]


def test_heads_that_decode_suffix_is_not_compiled_for_are_refused(kernels: Any) -> None:
    own = torch.zeros(3, 4, 2, 48)
    with pytest.raises(RuntimeError, match="decode_suffix: a size is negative or beyond what the kernel takes"):
        kernels.decode_suffix(torch.zeros(3, 2, 48), own, own, torch.ones(3, dtype=torch.int32), 0, 1.0)


def test_a_dtype_without_kernel_is_refused(kernels: Any) -> None:
    with pytest.raises(RuntimeError, match="bias_gelu: the element type is not float32, bfloat16 or float16"):
        kernels.bias_gelu(torch.zeros(3, 5, dtype=torch.float64), None)
