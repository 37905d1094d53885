"""The bindings of csrc/bindings, on a CPU: torch's operation, the stable ABI, and the very CUDA kernel on fibers, at
once.

What nvcc compiles for a GPU, g++ compiles here (csrc/common/on_cpu); the bindings take CPU tensors then, in a namespace
of their own. So the order of arguments, shapes, dtypes and scratch are checked against the operations' reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.ops import bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax
from megatron_codex.ops.registered import SCHEMAS
from tests.ops.examples import EXAMPLES, TOLERANCES, Drawn, assert_close, tensors_of
from tests.ops.kernels.build import cuda_headers, folder, kernel, need_compiler
from tests.ops.test_cuda_build import COMPOSED, build_cuda

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


WRONG: dict[str, tuple[str, int, Any, str]] = {
    "dtype": ("bias_gelu", 0, torch.zeros(3, 5, dtype=torch.int32), "bias must be of x's dtype"),
    "bias_size": ("bias_gelu", 1, torch.zeros(4), "bias_gelu: bias must be of x's dtype and last dimension"),
    "labels": ("ce_pieces", 1, torch.zeros(5, dtype=torch.int32), "ce_pieces: labels must be int64, one a row"),
    "mask": ("ce_gradient_", 2, torch.ones(4, dtype=torch.bool), "ce_gradient_: loss_mask must be bool, one a row"),
    "columns": ("ce_pieces", 3, 10, "num_columns must not exceed the logits' columns"),
    "rows": ("ce_gradient_", 0, torch.zeros(9, 5).t(), "logits must be a matrix, row by row"),
    "head_size": ("decode_suffix", 0, torch.zeros(3, 2, 63), "must have the queries' samples, heads and head size"),
    "padding": ("causal_softmax", 1, torch.zeros(3, dtype=torch.int32), "left_padding must be int32, one a sample"),
    "means": ("flat_adam_step_", 2, torch.zeros(28), "weights and means must be fp32, as many as gradients"),
    "plan": ("flat_adam_plan_", 2, torch.zeros(4), "flat_adam_plan_: plan must be fp32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_kernel_cannot_take_is_refused(kernels: Any, case: str) -> None:
    name, position, value, line = WRONG[case]
    arguments = list(EXAMPLES[name](Drawn(torch.float32, "cpu", differentiable=False)))
    arguments[position] = value
    with pytest.raises(RuntimeError, match=line):
        getattr(kernels, name)(*arguments)


def test_a_dtype_without_kernel_is_refused(kernels: Any) -> None:
    with pytest.raises(RuntimeError, match="bias_gelu: the element type is not float32, bfloat16 or float16"):
        kernels.bias_gelu(torch.zeros(3, 5, dtype=torch.float64), None)
