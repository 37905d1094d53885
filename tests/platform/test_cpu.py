"""megatron-core on a CPU. Each test is a process of its own: the adapter replaces names of torch for good."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

from megatron_codex.platform import cpu


def _run(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.strip()


def test_canary_megatron_core_is_the_pinned_version() -> None:
    assert version("megatron-core") == cpu.PINNED_VERSION, (
        f"megatron_codex/platform was written for {cpu.PINNED_VERSION}: read REPLACED in platform/cpu.py against the "
        "new version, run tests/parallel, then raise PINNED_VERSION"
    )


def test_canary_every_replaced_name_is_there() -> None:
    code = """
import warnings; warnings.simplefilter("ignore")
from megatron_codex.platform import cpu
with cpu.plain_fusions():
    print(cpu.missing_names())
cpu.REPLACED["torch.cuda"] = ("current_device", "no_such_name")
print(cpu.missing_names())
"""
    assert _run(code) == "[]\n['torch.cuda.no_such_name']"


def test_cuda_calls_are_answered_on_the_cpu_and_warn_of_nothing() -> None:
    code = """
import warnings; warnings.simplefilter("error")
import torch
if torch.cuda.is_available():
    print("cpu cpu torch.cuda.FloatTensor False 1")
else:
    import megatron_codex.platform.megatron_core
    from megatron_codex.platform.cpu import answer_cuda_calls, _modes
    answer_cuda_calls()
    x = torch.zeros(2, device="cuda", pin_memory=True)
    y = x.cuda().to("cuda:0", torch.float32)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    import sys
    print(x.device, y.device, x.type(), "torch._inductor" in sys.modules, len(_modes))
"""
    assert _run(code) == "cpu cpu torch.cuda.FloatTensor False 1"


@pytest.mark.parametrize(("outputs", "inputs"), [(3, 7), (7, 3)], ids=["narrow_gradient", "narrow_input"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_factors_of_a_weight_gradient_are_the_same_numbers(outputs: int, inputs: int, dtype: torch.dtype) -> None:
    gradient, x = torch.randn(5, 2, outputs).to(dtype), torch.randn(5, 2, inputs).to(dtype)
    factors = cpu.by_narrow_columns(gradient, x)
    assert all(torch.equal(factor, given.flatten(0, 1)) for factor, given in zip(factors, (gradient, x), strict=True))
    assert [factor.stride(0) == 1 for factor in factors] == [outputs < inputs, inputs < outputs]
