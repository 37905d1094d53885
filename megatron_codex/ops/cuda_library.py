"""The library of csrc/kernels, or why it is not there.

setup.py builds megatron_codex/ops/_cuda.so where it finds nvcc and a CUDA build of torch (docs/ops.md). Loading it
registers its kernels, by name, for the operations of this room; it loads beside a CPU build of torch too. Where csrc/
stands beside the package, a library of other sources is not loaded: an operation that it lacks would run in torch
unsaid, and one whose arguments changed would read others.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import util
from pathlib import Path

PATH = Path(__file__).with_name("_cuda.so")
BUILDER = Path(__file__).parents[2] / "csrc/build_cuda.py"
"""There in a checkout; a wheel has the library and the package of one build."""


@lru_cache(maxsize=1)
def why_missing(path: Path = PATH) -> str | None:
    """Load the library, once; None where that went well, else the reason in words."""
    if not path.exists():
        return "it was not built: MCX_BUILD_CUDA=1 pip install . builds it, with nvcc"
    if BUILDER.is_file() and _mark().encode() not in path.read_bytes():
        return "it was built from other sources than csrc has: MCX_BUILD_CUDA=1 pip install . builds it anew"
    import torch  # here: who only asks what there is does without

    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f"it does not load ({' '.join(str(error).split())})"
    return None


def _mark() -> str:
    """What csrc/build_cuda.py puts into a library of these sources."""
    spec = util.spec_from_file_location("megatron_codex_build_cuda", BUILDER)
    assert spec is not None and spec.loader is not None
    builder = util.module_from_spec(spec)
    sys.modules[spec.name] = builder  # dataclasses look their module up
    spec.loader.exec_module(builder)
    found: str = builder.mark()
    return found
