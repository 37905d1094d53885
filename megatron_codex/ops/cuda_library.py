"""The library of csrc/kernels, or why it is not there.

setup.py builds megatron_codex/ops/_cuda.so where it finds nvcc and a CUDA build of torch (docs/ops.md). Loading it
registers its kernels, by name, for the operations of this room; it loads beside a CPU build of torch too.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

PATH = Path(__file__).with_name("_cuda.so")


@lru_cache(maxsize=1)
def why_missing(path: Path = PATH) -> str | None:
    """Load the library, once; None where that went well, else the reason in words."""
    if not path.exists():
        return "it was not built: MCX_BUILD_CUDA=1 pip install . builds it, with nvcc"
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f"it does not load ({' '.join(str(error).split())})"
    return None
