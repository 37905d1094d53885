"""Launch every CUDA kernel once in each dtype, small and odd: what compute-sanitizer watches. Needs a GPU.

compute-sanitizer --tool memcheck python tests/gpu/every_kernel.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from megatron_codex.ops import bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax
from megatron_codex.ops.cuda_library import why_missing
from tests.ops.examples import EXAMPLES, Drawn

REGISTERING = (bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax)


def main() -> None:
    reason = "torch finds no CUDA device" if not torch.cuda.is_available() else why_missing()
    if reason is not None:
        sys.exit(f"error: the kernels cannot run: {reason}")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for name, example in EXAMPLES.items():
            getattr(torch.ops.megatron_codex, name)(*example(Drawn(dtype, "cuda", differentiable=False)))
            torch.cuda.synchronize()
            print(f"{name} {dtype}", flush=True)


if __name__ == "__main__":
    main()
